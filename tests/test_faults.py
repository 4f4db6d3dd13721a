"""Faults of machine and data: what is said, and that nothing is lost (kills: test_resume.py, test_kill.py)."""

import errno
import os
import signal
import subprocess
import sys
import time

import helpers
import numpy as np
import pytest
import tensorflow as tf
import test_resume as resume

import metaaug_tf as ma
from metaaug_tf.config import check_config, config_digest, config_for
from metaaug_tf.export.task import export_task
from metaaug_tf.files import write_json
from metaaug_tf.training import checkpoint_folder, metrics_log
from metaaug_tf.training.checkpoint_folder import CheckpointFolder, Position
from metaaug_tf.training.file_errors import file_errors_as_os_errors
from metaaug_tf.training.fork import read_fork
from metaaug_tf.training.lock import LOCK_FILE, check_free, locked
from metaaug_tf.training.metrics_log import read_rows
from metaaug_tf.training.run_folder import RunFolder
from metaaug_tf.training.stopping import Stopped, StopRequest

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
CONFIG = {"dataset": "glyphs", "epochs": 3, "checkpoint_minutes": 10.0}


def python(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# Lock

HOLD = """
import sys, time, pathlib
from metaaug_tf.training.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_workdir_in_use_is_refused_until_its_owner_dies(tmp_path):
    owner = python(HOLD, tmp_path)
    try:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(ma.UserError, match=f"in use by another process .number {owner.pid}"):
            check_free(tmp_path)
        with pytest.raises(ma.UserError, match="in use"), RunFolder(tmp_path).opened_for(CONFIG):
            pass
        assert not RunFolder(tmp_path).config.exists()
    finally:
        owner.kill()
        owner.communicate()
    with RunFolder(tmp_path).opened_for(CONFIG):
        assert RunFolder(tmp_path).read_config() == CONFIG


def test_checking_makes_no_file(tmp_path):
    check_free(tmp_path)
    check_free(tmp_path / "absent")
    assert not list(tmp_path.iterdir())


# Signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_handlers_come_back(number, code, capfd):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        for _ in range(500):
            if stop.is_set:
                break
            time.sleep(0.01)
        with pytest.raises(Stopped) as stopped:
            stop.check()
    assert stopped.value.exit_code == code and signal.getsignal(number) is before
    assert "again stops at once" in capfd.readouterr().err


BUSY = """
import hashlib
from metaaug_tf.training.stopping import StopRequest
with StopRequest():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes in one call, as a long step of TensorFlow
"""


def test_the_second_signal_stops_at_once_in_the_middle_of_a_long_call():
    process = python(BUSY)
    assert process.stdout.readline() == "busy\n"
    process.send_signal(signal.SIGINT)
    assert "again stops at once" in process.stderr.readline() + process.stderr.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130


class SignalAt(resume.KillAt):
    """Sends the signal in the middle of a step."""

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_end(self, batch, logs=None):
        """Not here."""


@pytest.mark.long
@pytest.mark.parametrize(("steps", "position"), [(2, Position(0, 2)), (resume.STEPS, Position(1, 0))])
def test_a_signal_in_a_step_ends_training_after_it_with_a_checkpoint(tmp_path, steps, position):
    with StopRequest() as stop, pytest.raises(Stopped):
        resume.train(tmp_path, minutes=10.0, callbacks=[SignalAt(steps)], stop=stop)
    assert CheckpointFolder(tmp_path / "checkpoints").newest_whole().position == position


# Files


def as_another_user():
    """Root may write anywhere; nobody may not."""
    if os.geteuid() == 0:
        os.seteuid(65534)


def test_a_read_only_workdir_is_refused_and_left_as_it_is(tmp_path):
    tmp_path.chmod(0o555)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and folder.name:
            folder.chmod(folder.stat().st_mode | 0o055)
    try:
        as_another_user()
        with pytest.raises(ma.UserError, match="can't be written.*choose another"):
            RunFolder(tmp_path).check_for(CONFIG)
        with pytest.raises(ma.UserError, match="can't be written"), RunFolder(tmp_path).opened_for(CONFIG):
            pass
    finally:
        os.seteuid(os.getuid())
        tmp_path.chmod(0o755)
    assert not list(tmp_path.iterdir())


def test_a_row_that_can_not_be_written_follows_with_the_next(tmp_path, monkeypatch):
    wanted = resume.results(tmp_path / "whole", resume.train(tmp_path / "whole", minutes=10.0))
    write, calls = metrics_log.write_text, []

    def fail_once(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise NO_SPACE
        write(*arguments)

    monkeypatch.setattr(metrics_log, "write_text", fail_once)
    with pytest.warns(UserWarning, match="row of epoch 1 follows"):
        model = resume.train(tmp_path / "full", minutes=10.0)
    resume.assert_same(wanted, resume.results(tmp_path / "full", model))


def test_on_a_disk_full_for_a_while_training_goes_on(tmp_path, monkeypatch):
    savez, calls = np.savez, []

    def fail_at_first(*arguments, **arrays):
        calls.append(arguments)
        if len(calls) <= 4:  # both attempts at two checkpoints
            raise NO_SPACE
        savez(*arguments, **arrays)

    monkeypatch.setattr(checkpoint_folder.np, "savez", fail_at_first)
    with pytest.warns(UserWarning, match="no checkpoint could be written.*No space.*training goes on"):
        resume.train(tmp_path, minutes=10.0)
    assert CheckpointFolder(tmp_path / "checkpoints").newest_whole().position == Position(resume.EPOCHS)


def test_on_a_disk_full_to_the_end_the_run_does_not_pass_as_finished(tmp_path, monkeypatch):
    resume_from = Position(1, 0)
    with pytest.raises(resume.Killed):
        resume.train(tmp_path, kill_after=resume.STEPS + 1, minutes=10.0)

    def full(*_, **__):
        raise NO_SPACE

    monkeypatch.setattr(checkpoint_folder.np, "savez", full)
    with pytest.warns(UserWarning, match="no checkpoint"), pytest.raises(ma.UserError, match="last checkpoint could"):
        resume.train(tmp_path, minutes=10.0)
    assert CheckpointFolder(tmp_path / "checkpoints").newest_whole().position == resume_from


def test_other_files_that_can_not_be_written_end_the_command_with_a_message(tmp_path):
    message = "No space left(.|\n)*is kept(.|\n)*goes on"
    with pytest.raises(ma.UserError, match=message), RunFolder(tmp_path / "run").opened_for(CONFIG):
        raise NO_SPACE


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.long
def test_an_export_to_a_full_disk_ends_with_a_message_and_without_a_version(small_disk):
    (small_disk / "run").mkdir()
    model, run = resume.make_model(), RunFolder(small_disk / "run")
    refused = pytest.raises(ma.UserError, match="No space left on device(.|\n)*is kept")
    with refused, run.opened_for(CONFIG), file_errors_as_os_errors():
        (small_disk / "others").write_bytes(bytes(2**20 - 60_000))
        export_task(model, run.export / "task", ["a", "b", "c", "d"], "glyphs")
    assert not (small_disk / "run/export/task/1").exists()


def test_a_lack_of_memory_is_not_taken_for_a_full_disk():
    with pytest.raises(tf.errors.ResourceExhaustedError), file_errors_as_os_errors():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_on_a_real_full_disk_the_newest_checkpoint_stays_whole(small_disk):
    folder = CheckpointFolder(small_disk / "checkpoints")

    def write(step, size):
        tensors = {"model/00000": np.full(size, step, np.uint8)}
        folder.write(checkpoint_folder.Saved(Position(0, step), tensors, {}))

    for step in (1, 2, 3):
        write(step, 300_000)
    write(4, 500_000)  # there is room once the older ones are gone
    assert folder.newest_whole().position.step == 4
    with pytest.raises(OSError, match="No space"):
        write(5, 800_000)
    saved = folder.newest_whole()
    assert saved.position.step == 4 and (saved.tensors["model/00000"] == 4).all()


@pytest.mark.long
def test_a_clock_set_back_changes_nothing(tmp_path, monkeypatch):
    wanted = resume.results(tmp_path / "whole", resume.train(tmp_path / "whole", minutes=10.0))
    clock = iter(range(2_000_000_000, 0, -86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    with pytest.raises(resume.Killed):
        resume.train(tmp_path / "back", kill_after=6)
    for part in (tmp_path / "back").rglob("*"):  # and files that seem to come from the future
        os.utime(part, (4e9, 4e9))
    model = resume.train(tmp_path / "back")
    resume.assert_same(wanted, resume.results(tmp_path / "back", model))


def test_time_waited_for_input_is_never_negative(tmp_path):
    log = metrics_log.MetricsLog(tmp_path / "metrics.jsonl", 8)
    model = resume.make_model()
    log.set_model(model)
    log.on_train_begin()
    log.on_epoch_begin(0)
    model.input_clock._waited.assign(-3600.0)
    log.on_train_batch_end(0)
    log.on_epoch_end(0, {"loss": 1.0})
    assert read_rows(tmp_path / "metrics.jsonl")[0]["input_bound_fraction"] == 0


# Data and weights


def examples(images, labels):
    return ma.Examples(np.asarray(images), np.asarray(labels))


GOOD = helpers.random_examples(8, 0)
BAD_DATA = [
    (examples(np.full((8, 8, 8, 3), np.nan, np.float32), GOOD.labels), "images are uint8.*float32"),
    (examples(GOOD.images, np.array([0, 1, 2, 3, 0, 1, -1, 0], np.int32)), "label -1"),
    (examples(GOOD.images, GOOD.labels.astype(np.float32)), "labels are whole numbers.*float32"),
    (examples(GOOD.images[0], GOOD.labels), r"\[N, H, W, C\]"),
    (examples(GOOD.images[:5], GOOD.labels), "5 images.*8 labels"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_DATA, ids=[message[:12] for _, message in BAD_DATA])
def test_images_and_labels_that_can_not_be_are_refused(bad, message):
    for sets in ((bad, GOOD), (GOOD, bad)):
        with pytest.raises(ma.UserError, match=message):
            ma.training_dataset(*sets, ma.PairSampler(), batch_size=4)


def test_labels_beyond_the_classes_are_refused():
    bad = ma.Examples(GOOD.images, np.full_like(GOOD.labels, 4))
    for sets in ((bad, GOOD), (GOOD, bad)):
        with pytest.raises(ma.UserError, match="label 4.*4 classes"):
            ma.training_dataset(*sets, ma.PairSampler(), batch_size=4, classes=4)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = resume.make_model()
    checkpoints = ma.Checkpoints(model, tmp_path)
    checkpoints.save()
    model.trainable_variables[0].assign(model.trainable_variables[0] * np.nan)
    with pytest.raises(ma.UserError, match="weights are not finite"):
        checkpoints.save()
    assert np.isfinite(CheckpointFolder(tmp_path).newest_whole().tensors["model/00000"]).all()


# Settings


def test_settings_of_checkpoints_may_change_and_others_not(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.opened_for(CONFIG):
        pass
    run.check_for({**CONFIG, "checkpoint_minutes": 1.0, "checkpoints_kept": 1})
    with pytest.raises(ma.UserError, match="epochs: 3 -> 4(.|\n)*--fork=NEWDIR"):
        run.check_for({**CONFIG, "epochs": 4})


def test_settings_of_checkpoints_have_ranges():
    config = config_for("glyphs").to_dict()
    check_config({**config, "checkpoint_minutes": 0.0, "checkpoints_kept": 1})
    with pytest.raises(ma.UserError, match="checkpoint_minutes=-1(.|\n)*checkpoints_kept=0"):
        check_config({**config, "checkpoint_minutes": -1, "checkpoints_kept": 0})


def test_a_fork_starts_the_epoch_anew_with_the_weights_as_they_are(tmp_path):
    source = RunFolder(tmp_path / "run")
    write_json(source.config, CONFIG)
    with pytest.raises(resume.Killed):
        resume.train(source.path, kill_after=resume.STEPS + 2)
    newest = CheckpointFolder(source.checkpoints).newest_whole()
    model = resume.make_model(optimizer="sgd")
    with pytest.raises(ma.UserError, match="another model or optimizer"):
        read_fork(model, source, "new")
    model = resume.make_model()
    forked = read_fork(model, source, config_digest({**CONFIG, "epochs": 4}))
    assert newest.position == Position(1, 2) and forked.position == Position(1, 0)
    CheckpointFolder(tmp_path / "new").write(forked)
    with pytest.raises(ma.UserError, match="other settings"):
        ma.Checkpoints(model, tmp_path / "new", digest=config_digest(CONFIG)).restore()
    checkpoints = ma.Checkpoints(model, tmp_path / "new", digest=config_digest({**CONFIG, "epochs": 4}))
    assert checkpoints.restore() and checkpoints.position == Position(1, 0)
    for name, array in resume.results(source.path, model)[0].items():
        np.testing.assert_array_equal(array, newest.tensors[name])


def test_a_lock_left_behind_is_no_run(tmp_path):
    (tmp_path / LOCK_FILE).touch()
    with locked(tmp_path):
        RunFolder(tmp_path).check_for(CONFIG)
