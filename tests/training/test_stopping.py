"""One owner per workdir, and signals: the first stops after the step, the second at once."""

import errno
import os
import signal
import subprocess
import sys
import time

import keras
import pytest
import resumable_runs as resume
from command_runs import signals_by_default

import metaaug_tf as ma
from metaaug_tf.checkpoints import folder
from metaaug_tf.checkpoints.folder import CheckpointFolder, Position
from metaaug_tf.run_folder import RunFolder, check_free
from metaaug_tf.signals import Stopped, StopRequest, heeded_signals
from metaaug_tf.workers.workers import Workers

CONFIG = {"dataset": "glyphs", "epochs": 3, "checkpoint_minutes": 10.0}


def python(code, *arguments, preexec=signals_by_default):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=preexec)


HOLD = """
import sys, time, pathlib
from metaaug_tf.run_folder import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_workdir_in_use_is_refused_until_its_owner_dies(tmp_path):
    owner = python(HOLD, tmp_path)
    try:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(ma.UserError, match=f"in use by another process .ID {owner.pid}"):
            check_free(tmp_path)
        with pytest.raises(ma.UserError, match="in use"), RunFolder(tmp_path).opened_for(CONFIG):
            pass
        assert not RunFolder(tmp_path).config.exists()
    finally:
        owner.kill()
        owner.communicate()
    with RunFolder(tmp_path).opened_for(CONFIG):
        assert RunFolder(tmp_path).config_as_begun() == CONFIG


def test_checking_makes_no_file(tmp_path):
    check_free(tmp_path)
    check_free(tmp_path / "absent")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def hangup_heeded():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_handlers_come_back(signum, code, capfd, hangup_heeded):
    before = signal.getsignal(signum)
    with StopRequest() as stop:
        Workers().check_stop(stop)
        os.kill(os.getpid(), signum)
        for _ in range(500):
            if stop.signum is not None:
                break
            time.sleep(0.01)
        with pytest.raises(Stopped) as stopped:
            Workers().check_stop(stop)
    assert stopped.value.exit_code == code and signal.getsignal(signum) is before
    assert "again stops at once" in capfd.readouterr().err


def test_what_nohup_ignores_stays_ignored(hangup_heeded):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert heeded_signals() == (signal.SIGINT, signal.SIGTERM)
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        while stop.signum is None:
            time.sleep(0.01)
    assert stop.signum == signal.SIGTERM and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


BUSY = """
import hashlib
from metaaug_tf.signals import StopRequest
with StopRequest():
    print("busy", flush=True)
    # Half an hour in one call that lets go of Python's lock, as a long step of TensorFlow. More rounds than an int
    # holds are refused at once, and the block is left before the signals come.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.fixture
def busy():
    process = python(BUSY)
    assert process.stdout.readline() == "busy\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_signal_stops_at_once_in_the_middle_of_a_long_call(busy):
    busy.send_signal(signal.SIGINT)
    assert "again stops at once" in busy.stderr.readline() + busy.stderr.readline()
    assert busy.poll() is None
    busy.send_signal(signal.SIGINT)
    assert busy.wait(timeout=60) == 130


def test_a_terminal_that_closes_twice_does_not_stop_at_once(busy):
    """Its shell sends SIGHUP, and when that ends the kernel does; only another signal is a second one."""
    for _ in range(3):
        busy.send_signal(signal.SIGHUP)
        time.sleep(0.2)
    assert busy.poll() is None
    busy.send_signal(signal.SIGTERM)
    assert busy.wait(timeout=60) == 143


BEFORE_TRAINING = """
import signal, sys, time
from metaaug_tf import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite run in the background has it ignored
def run():
    print("running", flush=True)
    time.sleep(60)
main.run, sys.argv = run, ["metaaug"]
sys.exit(main.main())
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_training_ends_the_command_with_its_code(signum, code):
    process = python(BEFORE_TRAINING)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code and "stopped; to resume" in errors and "Traceback" not in errors


def test_with_its_terminal_gone_the_command_still_ends_with_its_code():
    process = python(BEFORE_TRAINING)
    assert process.stdout.readline() == "running\n"
    process.stderr.close()
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 129
    process.stdout.close()


def test_the_second_signal_also_stops_what_has_no_terminal_any_more(busy):
    busy.stderr.close()
    busy.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 60
    while busy.poll() is None and time.monotonic() < deadline:  # the first is noted when the second comes
        time.sleep(0.2)
        busy.send_signal(signal.SIGTERM)
    assert busy.returncode == 143


class SignalAt(keras.callbacks.Callback):
    """Sends the signal in the middle of a step, counted from 1."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_does_not_hide_that_its_checkpoint_could_not_be_written(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder.np, "savez", full)
    failed = pytest.raises(ma.UserError, match="last checkpoint could not be written.*No space")
    with StopRequest() as stop, pytest.warns(UserWarning, match="no checkpoint could be written"), failed:
        resume.train(tmp_path, minutes=10.0, callbacks=[SignalAt(2)], stop=stop)


@pytest.mark.long
@pytest.mark.parametrize(("steps", "position"), [(2, Position(0, 2)), (resume.STEPS, Position(1, 0))])
def test_a_signal_in_a_step_ends_training_after_it_with_a_checkpoint(tmp_path, steps, position):
    with StopRequest() as stop, pytest.raises(Stopped):
        resume.train(tmp_path, minutes=10.0, callbacks=[SignalAt(steps)], stop=stop)
    assert CheckpointFolder(tmp_path / "checkpoints").newest_whole().position == position
