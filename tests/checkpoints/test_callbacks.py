"""Keras's own callbacks under model.fit in their ordinary use; CSVLogger and others are in test_fit.py."""

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import metaaug_tf as ma

EPOCHS = 4


def built(seed=0):
    """A compiled model, the same for the same seed."""
    keras.utils.set_random_seed(seed)
    model = ma.MetaAugment(helpers.tiny_task(batch_norm=True))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizers = keras.optimizers.SGD(0.05, momentum=0.9), keras.optimizers.Adam(0.01)
    model.compile(*optimizers, loss=loss, metrics=["accuracy"], jit_compile=False)
    return model


def fit(model, callbacks, epochs=EPOCHS):
    own = tf.data.Dataset.from_tensor_slices(tuple(vars(helpers.random_examples(24, 0)).values())).batch(8)
    validation_set = helpers.random_examples(8, 1)
    data = ma.training_batches(own, validation_set, model.sampler, seed=1)
    validation = tf.data.Dataset.from_tensor_slices((validation_set.images, validation_set.labels)).batch(8)
    return model.fit(data, validation_data=validation, epochs=epochs, verbose=0, callbacks=callbacks)


def evaluated(model):
    """The model's loss on the images by which `fit` validates."""
    validation_set = ma.evaluation_dataset(helpers.random_examples(8, 1))
    return model.evaluate(validation_set, verbose=0, return_dict=True)["loss"]


def spoiling(from_epoch):
    """A LearningRateScheduler that makes everything worse from an epoch on."""
    return keras.callbacks.LearningRateScheduler(lambda epoch, rate: 50.0 if epoch >= from_epoch else 0.05)


@pytest.mark.long
def test_early_stopping_and_model_checkpoint_keep_the_best_epoch(tmp_path):
    model = built()
    callbacks = [
        spoiling(2),
        keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_loss", save_best_only=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
    ]
    losses = fit(model, callbacks, epochs=9).history["val_loss"]
    best = int(np.argmin(losses))
    assert best < 2 and len(losses) == best + 2
    assert evaluated(model) == pytest.approx(losses[best], rel=1e-5)
    loaded = keras.models.load_model(tmp_path / "best.keras")
    assert evaluated(loaded) == pytest.approx(losses[best], rel=1e-5)
    assert int(loaded.sampler.epoch.numpy()) == best + 1
    model.load_weights(tmp_path / f"{len(losses)}.weights.h5")
    assert evaluated(model) == pytest.approx(losses[-1], rel=1e-5)


@pytest.mark.long
def test_a_scheduled_learning_rate_is_also_that_of_the_virtual_update():
    model = built()
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch == 1 else 0.05)
    history = fit(model, [schedule], epochs=2).history
    assert history["learning_rate"] == pytest.approx([0.05, 0.0])
    assert history["policy_gradient_norm"][0] > 0 == history["policy_gradient_norm"][1]
    assert history["meta_loss"][1] > 0


@pytest.mark.long
def test_tensorboard_has_keras_metrics_those_of_the_policy_and_each_weight_once(tmp_path):
    model = built()
    history = fit(model, [keras.callbacks.TensorBoard(tmp_path, histogram_freq=1)], epochs=2).history
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(tmp_path / part), size_guidance={"tensors": 0})
        events.Reload()
        for name in ("loss", "accuracy", *(("meta_loss", "weight_mean") if part == "train" else ())):
            seen = [tf.make_ndarray(event.tensor_proto) for event in events.Tensors(f"epoch_{name}")]
            np.testing.assert_allclose(seen, history[prefix + name], rtol=1e-5)
        if part == "train":
            for variable in model.task.variables + model.policy_network.variables:
                assert len(events.Tensors(f"{variable.path}/histogram")) == 2, variable.path


class Interrupted(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.long
@pytest.mark.parametrize("double", [False, True])
def test_backup_and_restore_goes_on_after_the_last_whole_epoch(tmp_path, double):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", double_checkpoint=double)

    def interrupt(batch, logs=None):
        if model.optimizer.iterations.numpy() == 8:  # in the third epoch
            raise Interrupted

    whole = built()
    fit(whole, [])
    model = built()
    with pytest.raises(Interrupted):
        fit(model, [backup(), keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)])
    model = built(seed=5)  # other weights, as a new process has them before it restores
    history = fit(model, [backup()])
    assert history.epoch == [2, 3] and int(model.sampler.epoch.numpy()) == EPOCHS
    for variables in ("variables", "optimizer.variables", "policy_optimizer.variables"):
        mine, theirs = (helpers.values_of(_attribute(m, variables)) for m in (model, whole))
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not (tmp_path / "backup").exists()


def _attribute(model, path):
    for name in path.split("."):
        model = getattr(model, name)
    return model
