"""Going on at the very step gives what an uninterrupted run gives, to the last bit: weights, table, metrics."""

import threading
import zipfile
from collections import Counter
from pathlib import Path

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from pretended_workers import all_of
from resumable_runs import EPOCHS, STEPS, Killed, assert_same, make_model, results, traced_model, train

import metaaug_tf as ma
from metaaug_tf.checkpoints import model_state
from metaaug_tf.checkpoints.callback_state import capture_callbacks, restore_callbacks
from metaaug_tf.checkpoints.folder import Checkpoint, CheckpointFolder, Position
from metaaug_tf.checkpoints.model_state import capture_variables
from metaaug_tf.run_folder import read_rows

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return results(folder, train(folder, minutes=10.0))


@pytest.mark.parametrize("lives", [[4], [2, 1, 1], [3, 1, 5]], ids=str)
def test_killed_runs_end_as_the_uninterrupted_one(tmp_path, straight, lives):
    for steps in lives:
        with pytest.raises(Killed):
            train(tmp_path, kill_after=steps)
    model = train(tmp_path)
    assert int(model.optimizer.iterations.numpy()) == STEPS * EPOCHS
    assert_same(straight, results(tmp_path, model))


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_runs_with_the_learned_policy_end_as_the_uninterrupted_one(tmp_path, jit_compile):
    settings = {"policy": "metaaugment", "jit_compile": jit_compile}
    wanted = results(tmp_path / "straight", train(tmp_path / "straight", **settings))
    for steps in (3, 1, 5):
        with pytest.raises(Killed):
            train(tmp_path / "broken", kill_after=steps, **settings)
    assert_same(wanted, results(tmp_path / "broken", train(tmp_path / "broken", **settings)))


def test_without_a_checkpoint_in_the_epoch_it_starts_at_the_epoch(tmp_path, straight):
    with pytest.raises(Killed):
        train(tmp_path, kill_after=STEPS + 3, minutes=10.0)
    assert_same(straight, results(tmp_path, train(tmp_path, minutes=10.0)))


def test_a_damaged_newest_checkpoint_costs_time_and_nothing_else(tmp_path, straight):
    with pytest.raises(Killed):
        train(tmp_path, kill_after=7)
    newest = max((tmp_path / "checkpoints").iterdir()) / "tensors.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="falling back"):
        model = train(tmp_path)
    assert_same(straight, results(tmp_path, model))


def test_a_finished_run_is_left_as_it_is(tmp_path, straight):
    train(tmp_path)
    assert_same(straight, results(tmp_path, train(tmp_path)))


@pytest.mark.parametrize(("step", "rejected"), [(2, True), (0, False)])
def test_another_number_of_devices_resumes_only_at_an_epochs_end(tmp_path, step, rejected):
    model, folder = traced_model()[0], CheckpointFolder(tmp_path)
    folder.write(Checkpoint(Position(1, step), capture_variables(model), {"digest": "", "replicas": 2}))
    checkpoints = ma.Checkpoints(model, tmp_path)
    if rejected:
        with pytest.raises(ma.UserError, match=r"epoch on 2 device\(s\); this run has 1, .*Resume on 2, or.*--fork"):
            checkpoints.restore()
    else:
        assert checkpoints.restore() and checkpoints.position == Position(1)


class EndsAfterOneEpoch(keras.callbacks.Callback):
    """Has no state, like most callbacks of one's own, and ends training as Keras's do."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


class EndsWithState(EndsAfterOneEpoch):
    def get_state(self):
        return {}

    def set_state(self, state):
        """Nothing is kept."""


class EndsWithinAnEpoch(keras.callbacks.Callback):
    """As TerminateOnNaN does."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == 1


@pytest.mark.parametrize("kind", [EndsAfterOneEpoch, EndsWithState, EndsWithinAnEpoch])
def test_a_training_that_a_callback_has_ended_stays_ended(tmp_path, kind):
    for _ in range(2):
        model = train(tmp_path, callbacks=[kind()])
        assert [row["epoch"] for row in read_rows(tmp_path / "metrics.jsonl")] == [0]
        assert int(model.optimizer.iterations.numpy()) == (2 if kind is EndsWithinAnEpoch else STEPS)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_end"])
def test_what_a_callback_without_state_changes_is_in_the_checkpoint(tmp_path, hook):
    """Such as a learning rate that falls after each step, or weights that are averaged after each epoch."""

    def change(*_, **__):
        kernel = traced_model()[0].task.trainable_variables[0]
        kernel.assign(0.9 * kernel)

    def life(folder, **kill):
        return train(folder, callbacks=[keras.callbacks.LambdaCallback(**{hook: change})], **kill)

    wanted = results(tmp_path / "straight", life(tmp_path / "straight"))
    for steps, minutes in ((2, 0), (STEPS - 1, 10)):  # resumes after a step of the first epoch, and at its end
        with pytest.raises(Killed):
            life(tmp_path / "broken", kill_after=steps, minutes=minutes)
    assert_same(wanted, results(tmp_path / "broken", life(tmp_path / "broken")))


def test_time_of_the_lives_of_an_epoch_is_added_up(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, kill_after=3)
    saved = CheckpointFolder(tmp_path / "checkpoints").newest_whole()
    spent = saved.metadata["callbacks"][1]["state"]["spent"]["seconds"]
    train(tmp_path)
    assert 0 < spent < read_rows(tmp_path / "metrics.jsonl")[0]["seconds"]


def test_a_checkpoint_has_the_keys_and_names_of_older_versions(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, kill_after=2, callbacks=[early_stopping()])
    new = CheckpointFolder(tmp_path / "checkpoints").newest_whole()
    zipfile.ZipFile(REFERENCE / "run.zip").extractall(tmp_path / "old")
    old = CheckpointFolder(tmp_path / "old" / "checkpoints").newest_whole()
    assert new.metadata.keys() - {"environment"} == old.metadata.keys()
    for callback, other in zip(new.metadata["callbacks"], old.metadata["callbacks"], strict=False):
        assert callback.keys() == other.keys() and callback["kind"] == other["kind"]
        assert callback["state"].keys() == other["state"].keys()
    groups = {"model", "metrics", "optimizer", "policy_optimizer"}
    for checkpoint in (new, old):
        counts = Counter(name.split("/")[0] for name in checkpoint.tensors)
        assert counts.keys() == groups
        assert set(checkpoint.tensors) == {f"{group}/{index:05d}" for group in groups for index in range(counts[group])}


def test_dropout_and_batch_norm_are_part_of_the_state():
    model = make_model()
    names = {id(variable): name for name, variable in model_state._named_variables(model).items()}
    seeds = [variable for variable in model.task.non_trainable_variables if "seed" in variable.path]
    moving = [variable for variable in model.task.non_trainable_variables if "moving" in variable.path]
    assert len(seeds) == 2 and len(moving) == 4
    before = capture_variables(model)
    model.train_step(helpers.random_batch())
    after = capture_variables(model)
    for variable in (*seeds, *moving):
        assert not np.array_equal(before[names[id(variable)]], after[names[id(variable)]]), variable.path


def early_stopping():
    # The least change asked for is never met, so that the patience of two epochs ends training after the third.
    return keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=1e3, restore_best_weights=True)


def plateau():
    return keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=1e3)


@pytest.mark.long
def test_keras_callbacks_go_on_from_their_state(tmp_path):
    def run(folder, lives):
        for steps in [*lives, 0]:
            callbacks = [
                early_stopping(),
                plateau(),
                keras.callbacks.ModelCheckpoint(str(folder / "best.weights.h5"), "val_loss", save_best_only=True,
                                                save_weights_only=True),
            ]  # fmt: skip
            if steps:
                with pytest.raises(Killed):
                    train(folder, kill_after=steps, callbacks=callbacks)
        return train(folder, callbacks=callbacks), callbacks

    model, callbacks = run(tmp_path / "straight", [])
    wanted = results(tmp_path / "straight", model)
    model, resumed = run(tmp_path / "broken", [3, 4])
    found = results(tmp_path / "broken", model)
    assert_same(wanted, found)
    assert wanted[1][-1]["learning_rate"] < 0.01, "the plateau was seen"
    for one, other in zip(callbacks, resumed, strict=True):
        for name in ("wait", "best", "best_epoch", "cooldown_counter"):
            assert getattr(one, name, None) == getattr(other, name, None), name


REFUSED = [
    (lambda folder: keras.callbacks.BackupAndRestore(str(folder)), "BackupAndRestore"),
    (lambda folder: keras.callbacks.CSVLogger(str(folder / "log.csv")), "append=True"),
    (lambda folder: keras.callbacks.ModelCheckpoint(str(folder / "m.keras"), save_freq=3), "save_freq"),
    (lambda folder: keras.callbacks.SwapEMAWeights(), "SwapEMAWeights"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_callbacks_that_can_not_go_on_are_refused_by_name(tmp_path, make, message):
    with pytest.raises(ma.UserError, match=message):
        train(tmp_path, callbacks=[make(tmp_path)])


def test_other_callbacks_than_before_are_refused(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, kill_after=2)
    with pytest.raises(ma.UserError, match="EarlyStopping"):
        train(tmp_path, callbacks=[early_stopping()])


def test_an_optimizer_with_moving_averages_is_refused(tmp_path):
    with pytest.raises(ma.UserError, match="use_ema=True overwrites .*leave use_ema out.*--config.ema_momentum"):
        train(tmp_path, optimizer=keras.optimizers.SGD(0.1, use_ema=True))


def test_a_checkpoint_of_another_model_or_optimizer_is_refused(tmp_path):
    ma.Checkpoints(make_model(), tmp_path / "checkpoints").save()
    with pytest.raises(ma.UserError, match="another model or optimizer"):
        train(tmp_path, policy_optimizer="sgd")


CHANGES = {
    "a shape": (lambda array: array[:7], r"of shape \(200, 1\) of float32 it holds shape \(7, 1\) of float32"),
    "a dtype": (
        lambda array: array.astype(np.float64),
        r"of shape \(200, 1\) of float32 it holds shape \(200, 1\) of float64",
    ),
    "a name": (None, r"of shape \(200, 1\) of float32 it holds nothing"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_an_array_that_is_not_the_variables_is_named_and_nothing_is_changed(change, message):
    model = traced_model()[0]
    before = capture_variables(model)
    arrays = {name: array + 1 if name.startswith("model/") else array for name, array in before.items()}
    name = next(name for name, array in reversed(arrays.items()) if array.shape == (200, 1))
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays[name])
    with pytest.raises(ma.UserError, match=f"another model or optimizer: for {name} .*{message}"):
        model_state.restore_variables(model, arrays, with_metrics=True)
    for key, array in capture_variables(model).items():
        np.testing.assert_array_equal(array, before[key], err_msg=key)


def test_each_of_two_workers_keeps_the_metrics_of_its_own_replicas(monkeypatch):
    """Two replicas each; the model stands for any."""
    shared = keras.Variable(np.zeros(2, np.float32))

    def act(collectives):
        parts = [tf.Variable([10.0 * collectives.index + replica, 0.0]) for replica in (0, 1)]
        own.parts = parts
        captured = capture_variables(None, collectives)
        model_state.restore_variables(None, {"metrics/00000": captured["metrics/00000"] + 1}, True, collectives)
        return captured["metrics/00000"], [part.numpy() for part in parts]

    own = threading.local()
    monkeypatch.setattr(model_state, "_with_parts", lambda *_: [("metrics/00000", shared, own.parts)])
    monkeypatch.setattr(model_state, "check_variables", lambda *_: None)
    for index, (captured, restored) in enumerate(all_of(2, act)):
        np.testing.assert_array_equal(captured, [[0, 0], [1, 0], [10, 0], [11, 0]])
        np.testing.assert_array_equal(restored, captured[2 * index : 2 * index + 2] + 1)


def test_callbacks_are_restored_all_or_none():
    callbacks = [plateau(), early_stopping()]
    for callback in callbacks:
        callback.on_train_begin()
    callbacks[0].wait = 5
    states, arrays = capture_callbacks(callbacks)
    callbacks[0].wait = 7
    del states[1]["state"]["best"]
    with pytest.raises(ma.UserError, match=r"the checkpoint holds \[.*\] of EarlyStopping, not \['best', "):
        restore_callbacks(callbacks, states, arrays)
    assert callbacks[0].wait == 7


def test_what_is_captured_stays_as_it_was():
    model = traced_model()[0]
    before = capture_variables(model)
    copies = {name: array.copy() for name, array in before.items()}
    model.train_step(helpers.random_batch())
    for name, array in before.items():
        np.testing.assert_array_equal(array, copies[name], err_msg=name)


def test_bfloat16_variables_come_back(tmp_path):
    def make():
        model = ma.MetaAugment(helpers.tiny_task(dtype="bfloat16"))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", "adam", loss=loss, jit_compile=False)
        return model

    model = make()
    assert any(variable.dtype == "bfloat16" for variable in model.variables)
    model.trainable_variables[0].assign(tf.ones_like(model.trainable_variables[0]) * 0.3)
    ma.Checkpoints(model, tmp_path).save()
    other = make()
    assert ma.Checkpoints(other, tmp_path).restore()
    for name, array in capture_variables(model).items():
        np.testing.assert_array_equal(array, capture_variables(other)[name])
