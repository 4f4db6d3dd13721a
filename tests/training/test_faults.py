"""Faults of disk and clock: what is said, and that nothing is lost (kills: test_resume.py, test_kill.py)."""

import errno
import os
import subprocess
import time

import numpy as np
import pytest
import resumable_runs as resume
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.callbacks import run_logs as metrics_log
from metaaug_tf.checkpoints import folder as checkpoint_folder
from metaaug_tf.checkpoints.folder import CheckpointFolder, Position
from metaaug_tf.export.task import export_task
from metaaug_tf.files import write_json
from metaaug_tf.policy.folder import write_policy
from metaaug_tf.report.page import write_report
from metaaug_tf.run_folder import RunFolder, file_errors_as_os_errors, read_rows

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
CONFIG = {"dataset": "glyphs", "epochs": 3, "checkpoint_minutes": 10.0}


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
        with pytest.raises(ma.UserError, match="is not writable.*choose another"):
            RunFolder(tmp_path).check_for(CONFIG)
        with pytest.raises(ma.UserError, match="is not writable"), RunFolder(tmp_path).opened_for(CONFIG):
            pass
    finally:
        os.seteuid(os.getuid())
        tmp_path.chmod(0o755)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
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


@pytest.mark.parametrize(("number", "attempts"), [(errno.ENOSPC, 2), (errno.EIO, 1)], ids=["ENOSPC", "EIO"])
def test_where_no_checkpoint_can_be_written_for_a_while_training_continues(tmp_path, monkeypatch, number, attempts):
    savez, calls = np.savez, []

    def fail_at_first(*arguments, **arrays):
        calls.append(arguments)
        if len(calls) <= 2 * attempts:  # two checkpoints
            raise OSError(number, os.strerror(number))
        savez(*arguments, **arrays)

    monkeypatch.setattr(checkpoint_folder.np, "savez", fail_at_first)
    with pytest.warns(UserWarning, match=f"no checkpoint could be written.*{os.strerror(number)}.*training continues"):
        resume.train(tmp_path, minutes=10.0)
    assert CheckpointFolder(tmp_path / "checkpoints").newest_whole().position == Position(resume.EPOCHS)
    assert len(calls) == 2 * attempts + 1


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
    message = "No space left(.|\n)*is kept(.|\n)*resumes the run"
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


def fill(folder):
    """Writes a file to the last block; returns its path."""
    path = folder / "others"
    with pytest.raises(OSError, match="No space"), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


@pytest.mark.long
def test_an_export_to_a_full_disk_ends_with_a_message_and_without_a_version(small_disk):
    (small_disk / "run").mkdir()
    model, run = resume.make_model(), RunFolder(small_disk / "run")
    refused = pytest.raises(ma.UserError, match="No space left on device(.|\n)*is kept")
    with refused, run.opened_for(CONFIG), file_errors_as_os_errors():
        (small_disk / "others").write_bytes(bytes(2**20 - 60_000))
        export_task(model, run.export / "task", ["a", "b", "c", "d"], "glyphs")
    assert not (small_disk / "run/export/task/1").exists()


def test_a_report_to_a_full_disk_leaves_the_one_before(small_disk):
    write_json(small_disk / "config.json", CONFIG)
    write_json(small_disk / "summary.json", {"test_accuracy": 0.5})
    page = write_report(small_disk)
    before = page.read_bytes()
    write_json(small_disk / "summary.json", {"test_accuracy": 0.75})
    filling = fill(small_disk)
    with pytest.raises(ma.UserError, match="report.html can't be written: No space left on device"):
        write_report(small_disk)
    assert page.read_bytes() == before
    assert {path.name for path in small_disk.iterdir()} == {"config.json", "summary.json", "others", "report.html"}
    filling.unlink()
    assert "75" in write_report(small_disk).read_text()


def test_what_was_learned_is_whole_or_as_before_on_a_full_disk(small_disk):
    model, folder = resume.make_model(), small_disk / "policy"
    write_policy(folder, 128, model.policy_network)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fill(small_disk)
    with pytest.raises(OSError):
        write_policy(folder, 255, model.policy_network)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_lack_of_memory_is_not_taken_for_a_full_disk():
    with pytest.raises(tf.errors.ResourceExhaustedError), file_errors_as_os_errors():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_on_a_real_full_disk_the_newest_checkpoint_stays_whole(small_disk):
    folder = CheckpointFolder(small_disk / "checkpoints")

    def write(step, size):
        tensors = {"model/00000": np.full(size, step, np.uint8)}
        folder.write(checkpoint_folder.Checkpoint(Position(0, step), tensors, {}))

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
