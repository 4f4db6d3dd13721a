"""Going on from a checkpoint gives what an uninterrupted run gives, to the last bit."""

import helpers
import keras
import numpy as np
import pytest

import metaaug_tf as ma
from metaaug_tf.training.checkpoint import Checkpoints
from metaaug_tf.training.metrics_log import MetricsLog, read_rows


def model_and_data(folder):
    task = helpers.tiny_task(batch_norm=True, dropout=0.3)
    model = ma.MetaAugment(task)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 9)
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9),
        "adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    augmentation = ma.Augmentation(padding=1)
    dataset = ma.training_dataset(
        helpers.random_examples(24, 0),
        helpers.random_examples(10, 1),
        model.sampler,
        batch_size=8,
        validation_batch_size=4,
        augmentation=augmentation,
    )
    return model, dataset, Checkpoints(model, folder / "checkpoints")


def state(model):
    variables = [*model.variables, *model.optimizer.variables, *model.policy_optimizer.variables]
    return [np.asarray(variable) for variable in variables]


def test_restored_run_is_equal_to_the_last_bit(tmp_path):
    straight, dataset, checkpoints = model_and_data(tmp_path / "straight")
    straight.fit(dataset, epochs=3, verbose=0, callbacks=[checkpoints])

    first, dataset, checkpoints = model_and_data(tmp_path / "broken")
    assert not checkpoints.restore()
    first.fit(dataset, epochs=2, verbose=0, callbacks=[checkpoints])
    second, dataset, checkpoints = model_and_data(tmp_path / "broken")
    assert checkpoints.restore()
    epoch = int(second.sampler.epoch.numpy())
    assert epoch == 2
    second.fit(dataset, epochs=3, initial_epoch=epoch, verbose=0, callbacks=[checkpoints])

    for wanted, found in zip(state(straight), state(second), strict=True):
        np.testing.assert_array_equal(wanted, found)


def test_a_damaged_checkpoint_is_named(tmp_path):
    model, dataset, checkpoints = model_and_data(tmp_path)
    model.fit(dataset, epochs=1, verbose=0, callbacks=[checkpoints])
    for part in (tmp_path / "checkpoints").glob("*.data*"):
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    _, _, again = model_and_data(tmp_path)
    with pytest.raises(ma.UserError, match="can't be restored"):
        again.restore()


def test_metrics_keep_whole_rows_and_are_written_again_from_the_epoch_that_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 0, "loss": 1.0}\n{"epoch": 1, "loss": 0.9}\n{"epoch": 2, "lo')
    assert [row["epoch"] for row in read_rows(path)] == [0, 1]
    MetricsLog(path, images_per_epoch=8, first_epoch=1)
    assert [row["epoch"] for row in read_rows(path)] == [0]
