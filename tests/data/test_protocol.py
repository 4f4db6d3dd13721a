"""Switches of the training protocol: label smoothing, averaged weights, repeated images, what decays."""

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.callbacks.averaging import averaging_callbacks, use_averages
from metaaug_tf.checkpoints.callback import Checkpoints
from metaaug_tf.checkpoints.resume import fit_resumably
from metaaug_tf.config import Config, config_for
from metaaug_tf.meta.losses import SmoothedCrossEntropy
from metaaug_tf.settings import OptimizerSettings
from metaaug_tf.training.build import build_model


def settings(**changes):
    config = config_for("glyphs").to_dict()
    return {**config, "warmup_epochs": 0, "jit_compile": "False", "learning_rate": 0.05, **changes}


def dataset(model, **augmentation):
    train, validation = helpers.random_examples(24, 0), helpers.random_examples(8, 1)
    return ma.training_dataset(
        train,
        validation,
        model.sampler,
        batch_size=8,
        validation_batch_size=4,
        augmentation=ma.Augmentation(padding=1, **augmentation),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_is_that_of_keras_for_one_hot_labels(smoothing):
    random = np.random.default_rng(0)
    labels, logits = random.integers(0, 5, 7), random.normal(size=(7, 5)).astype("float32")
    found = SmoothedCrossEntropy(smoothing).call(labels, logits)
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
    np.testing.assert_allclose(found, reference(np.eye(5)[labels], logits), rtol=1e-5)


@pytest.mark.parametrize("synchronised", [False, True])
def test_batch_norm_over_replicas_is_a_setting(synchronised):
    model = build_model(Config.of(settings(synchronise_batch_norm=synchronised)), 4, (8, 8, 3), 3)
    found = [layer.synchronized for layer in model.task.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert found == [synchronised] * 3


@pytest.mark.long
def test_the_average_of_the_weights_is_validated_and_kept_at_the_end(tmp_path):
    config = settings(ema_momentum=0.8, epochs=2)
    model = build_model(Config.of(config), 4, (8, 8, 3), 3)
    seen = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(helpers.values_of(self.model.task.trainable_variables))

    validation = helpers.random_examples(8, 1)
    data = ma.evaluation_dataset(validation)
    checkpoints = Checkpoints(model, tmp_path)
    history = model.fit(
        dataset(model),
        epochs=2,
        validation_data=data,
        verbose=0,
        callbacks=[Record(), *averaging_callbacks(Config.of(config).optimizer), checkpoints],
    )
    for found, wanted in zip(helpers.values_of(model.task.trainable_variables), seen[-1], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)  # fit ends with the weights, so that it can resume
    use_averages(model)
    average = seen[0]
    for values in seen[1:]:
        average = [0.8 * a + 0.2 * v for a, v in zip(average, values, strict=True)]
    for found, wanted in zip(helpers.values_of(model.task.trainable_variables), average, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    moved = max(np.abs(a - v).max() for a, v in zip(average, seen[-1], strict=True))
    assert moved > 1e-3, "the average is not the last weights"
    loss = model.evaluate(data, verbose=0, return_dict=True)["loss"]
    assert history.history["val_loss"][-1] == pytest.approx(loss, abs=1e-5)

    restored = build_model(Config.of(config), 4, (8, 8, 3), 3)
    assert Checkpoints(restored, tmp_path).restore()
    for found, wanted in zip(helpers.values_of(restored.task.trainable_variables), seen[-1], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)  # training resumes from the weights, not the average
    use_averages(restored)
    for found, wanted in zip(helpers.values_of(restored.task.trainable_variables), average, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_without_averaging_nothing_is_kept_or_changed():
    model = build_model(Config.of(settings()), 4, (8, 8, 3), 3)
    before = helpers.values_of(model.task.trainable_variables)
    use_averages(model)
    for old, new in zip(before, helpers.values_of(model.task.trainable_variables), strict=True):
        np.testing.assert_array_equal(old, new)
    assert averaging_callbacks(OptimizerSettings.of(settings())) == [] and not model.optimizer.use_ema


@pytest.mark.parametrize("everything", [True, False])
def test_which_variables_decay(everything):
    """Zero gradients leave decay alone to act."""
    model = build_model(
        Config.of(settings(decay_scales_and_biases=everything, weight_decay=0.01, momentum=0.9)), 4, (8, 8, 3), 3
    )
    variables = model.task.trainable_variables
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    model.optimizer.apply_gradients([(tf.zeros(v.shape), v) for v in variables])
    decayed = 1 - 0.05 * 0.01 / (1 - 0.9)
    for variable in variables:
        wanted = decayed if everything or len(variable.shape) > 1 else 1.0
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-6)


def test_repeated_images_are_augmented_again_and_the_first_as_without_repetition():
    sampler = ma.PairSampler()
    random = np.random.default_rng(0)
    train = ma.Examples(random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8), np.arange(12, dtype=np.int32))

    def first_batch(times):
        augmentation = ma.Augmentation(padding=1, transforms_per_sample=times)
        sizes = {"batch_size": 4, "validation_batch_size": 2}
        return next(iter(ma.training_dataset(train, train, sampler, augmentation=augmentation, **sizes)))

    (once, labels), (thrice, repeated_labels) = first_batch(1), first_batch(3)
    np.testing.assert_array_equal(repeated_labels, np.tile(labels, 3))
    for name in ("images", "pairs", "magnitudes"):
        np.testing.assert_array_equal(thrice[name][:4], once[name])
    magnitudes = thrice["magnitudes"].numpy().reshape(3, 4, 2)
    assert len(np.unique(magnitudes)) == magnitudes.size, "each repetition has draws of its own"
    np.testing.assert_array_equal(thrice["validation_labels"], once["validation_labels"])


@pytest.mark.long
def test_a_run_with_averaged_weights_goes_on_as_if_nothing_had_happened(tmp_path):
    config = settings(ema_momentum=0.8, epochs=2)

    def train(folder, epochs):
        model = build_model(Config.of(config), 4, (8, 8, 3), 3)
        checkpoints = Checkpoints(model, folder)
        checkpoints.restore()
        fit_resumably(
            model,
            lambda first_step: dataset(model),
            checkpoints,
            epochs=epochs,
            validation_data=ma.evaluation_dataset(helpers.random_examples(8, 1)),
            callbacks=averaging_callbacks(Config.of(config).optimizer),
        )
        return model

    straight = train(tmp_path / "straight", 2)
    train(tmp_path / "broken", 1)
    resumed = train(tmp_path / "broken", 2)
    for model in (straight, resumed):
        use_averages(model)
    for wanted, found in zip(straight.task.variables, resumed.task.variables, strict=True):
        np.testing.assert_array_equal(wanted, found)
