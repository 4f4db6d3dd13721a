"""MetaAugment under model.fit with Keras's own callbacks, metrics, dtype policies and step settings."""

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

import metaaug_tf as ma


def fitted(task, epochs=2, callbacks=(), jit_compile=False, **settings):
    model = ma.MetaAugment(task)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", "adam", loss=loss, metrics=["accuracy"], jit_compile=jit_compile, **settings)
    augmentation = ma.Augmentation(padding=1)
    dataset = ma.training_dataset(
        helpers.random_examples(32, 0),
        helpers.random_examples(10, 1),
        model.sampler,
        batch_size=8,
        validation_batch_size=4,
        augmentation=augmentation,
    )
    validation = ma.evaluation_dataset(helpers.random_examples(10, 1))
    history = model.fit(dataset, validation_data=validation, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model, history.history


def test_logs_hold_keras_and_policy_metrics_and_validation_only_keras_ones():
    _, history = fitted(helpers.tiny_task())
    own = {"meta_loss", "weight_mean", "weight_min", "weight_max", "effective_sample_size", "policy_gradient_norm"}
    assert set(history) == own | {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(np.isfinite(values).all() for values in history.values())


def test_evaluate_and_predict_act_on_the_task_network():
    model, _ = fitted(helpers.tiny_task())
    data = helpers.random_examples(10, 2)
    logits = model.task.predict(data.images, verbose=0)
    np.testing.assert_array_equal(model.predict(data.images, verbose=0), logits)
    result = model.evaluate(ma.evaluation_dataset(data), verbose=0, return_dict=True)
    assert result["accuracy"] == pytest.approx((logits.argmax(1) == data.labels).mean())
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(data.labels, logits)
    assert result["loss"] == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-5)


def test_sampler_is_updated_at_each_epochs_end():
    model, _ = fitted(helpers.tiny_task(), epochs=3)
    assert int(model.sampler.epoch.numpy()) == 3
    assert float(model.sampler.counts.numpy().sum()) == 3 * 32
    assert np.ptp(model.sampler.probabilities.numpy()) > 0


@pytest.mark.long
def test_ordinary_callbacks(tmp_path):
    callbacks = [
        keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=0, min_delta=1),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.weights.h5", save_weights_only=True),
    ]
    _, history = fitted(helpers.tiny_task(), epochs=5, callbacks=callbacks)
    assert len(history["loss"]) == 2  # the second epoch is no better by 1
    assert (tmp_path / "best.weights.h5").is_file()
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


@pytest.mark.long
def test_steps_per_execution_gives_the_same_weights():
    one, several = (fitted(helpers.tiny_task(), steps_per_execution=steps)[0] for steps in (1, 2))
    for a, b in zip(helpers.values_of(one.variables), helpers.values_of(several.variables), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("method", ["exact", "last_block"])
def test_bfloat16_trains_with_float32_weights_and_weighting(method):
    keras.config.set_dtype_policy("mixed_bfloat16")
    task = ma.wide_resnet(10, 1, 4, (8, 8, 3))
    assert task.get_layer("stage1_block1_conv1").compute_dtype == "bfloat16"
    model, history = fitted(task, epochs=1, meta_gradient=method)
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert history["policy_gradient_norm"][0] > 0 and np.isfinite(history["loss"]).all()


def test_float16_is_rejected_with_the_reason():
    keras.config.set_dtype_policy("mixed_float16")
    model = ma.MetaAugment(ma.wide_resnet(10, 1, 4, (8, 8, 3)))
    with pytest.raises(ma.UserError, match="loss scaling"):
        model.compile("sgd", "sgd", loss="sparse_categorical_crossentropy")


@pytest.mark.parametrize("loss", [None, ["mse", "mae"]])
def test_anything_but_one_loss_is_rejected(loss):
    with pytest.raises(ma.UserError, match="one loss"):
        ma.MetaAugment(helpers.tiny_task()).compile(loss=loss)


def test_the_private_hook_that_is_overridden_still_exists():
    assert callable(TensorFlowTrainer._maybe_symbolic_build)
