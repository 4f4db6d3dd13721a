"""The command line killed, stopped and forked: what a run comes to is the same to the last bit."""

import json
import random
import signal
import subprocess
import time

import pytest
from command_runs import KILLS, STEPS, assert_same, finish, results, start

from metaaug_tf.checkpoints.folder import CheckpointFolder

SHORT = ("--policy=none", "--config.epochs=1")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "short"
    finish(workdir, *SHORT)
    return results(workdir)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "straight"
    finish(workdir)
    return results(workdir)


def whole_rows(workdir):
    """Epochs of the rows; a row cut off would raise."""
    path = workdir / "metrics.jsonl"
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.mark.long
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGKILL, -9), (signal.SIGHUP, 129)])
def test_ended_within_an_epoch_it_resumes_there_and_ends_as_the_uninterrupted_run(tmp_path, short, signum, code):
    """The quickest of the cases below: one epoch in which nothing is learned about augmentation."""
    workdir = tmp_path / "ended"
    process = start(workdir, *SHORT)
    while process.poll() is None and not CheckpointFolder(workdir / "checkpoints").names():
        time.sleep(0.002)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code and "Traceback" not in errors, errors
    assert 0 < CheckpointFolder(workdir / "checkpoints").newest_whole().position.step < STEPS
    finish(workdir, *SHORT)
    assert_same(short, results(workdir))


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_as_the_uninterrupted_run(tmp_path, straight):
    draw, workdir, in_writing, positions = random.Random(0), tmp_path / "killed", 0, []
    for _ in range(KILLS):
        process = start(workdir)
        announced = process.stdout.readline()
        assert announced.startswith(("starting", "resuming")), process.stderr.read()
        # Half of the kills come right after the next checkpoint begins or ends, half at any moment.
        if draw.random() < 0.5:
            time.sleep(draw.uniform(0, 30))
        else:
            wait_for_a_new_checkpoint(workdir, process)
            time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.communicate()
        in_writing += bool(list((workdir / "checkpoints").glob(".part.*")))
        assert whole_rows(workdir) == list(range(len(whole_rows(workdir))))
        assert not (workdir / "summary.json").exists() or process.returncode == 0
        saved = CheckpointFolder(workdir / "checkpoints").newest_whole()
        positions.append((saved.position.epoch, saved.position.step) if saved else (0, 0))
        if (workdir / "summary.json").exists():
            break
    assert positions == sorted(positions), "no kill loses a checkpoint"
    finish(workdir)
    print(f"{len(positions)} kills, {in_writing} in the writing of a checkpoint; positions {positions}")
    assert_same(straight, results(workdir))


def wait_for_a_new_checkpoint(workdir, process):
    folder = workdir / "checkpoints"
    before = set(folder.glob("*")) | set(folder.glob(".*"))
    while process.poll() is None and not (set(folder.glob("*")) | set(folder.glob(".*"))) - before:
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_stopped_by_a_signal_the_printed_command_goes_on(tmp_path, straight, signum, code):
    workdir = tmp_path / "stopped"
    process = start(workdir)
    wait_for_a_new_checkpoint(workdir, process)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    assert "to resume:" in errors and f"--workdir={workdir}" in errors and "Traceback" not in errors
    assert "resuming" in finish(workdir)
    assert_same(straight, results(workdir))


@pytest.mark.slow
@pytest.mark.parametrize("kibibytes", [1700, 4200], ids=["checkpoints", "exports"])
def test_on_a_disk_that_is_full_it_ends_with_a_message_and_goes_on_when_there_is_room(tmp_path, straight, kibibytes):
    (disk := tmp_path / "disk").mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        process = start(disk / "run")
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 2 and "Traceback" not in errors, errors
        assert "No space left on device" in errors and "the same command resumes the run" in errors.replace("\n", " ")
        assert not (disk / "run/summary.json").exists() and not (disk / "run/report.html").exists()
        reached = CheckpointFolder(disk / "run/checkpoints").newest_whole().position
        print(f"full with {kibibytes} KiB at {reached}: {errors}")
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        assert "resuming" in finish(disk / "run")
        assert_same(straight, results(disk / "run"))
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_fork_with_other_settings_goes_on_and_leaves_the_run_alone(tmp_path):
    workdir, fork = tmp_path / "run", tmp_path / "fork"
    process = start(workdir)
    wait_for_a_new_checkpoint(workdir, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    before = {path: path.stat().st_mtime for path in workdir.rglob("*") if path.is_file()}
    output = finish(workdir, f"--fork={fork}", "--config.epochs=2")
    assert f"resuming {fork}: epoch 1 of 2, step 1 of {STEPS}" in output
    assert json.loads((fork / "summary.json").read_text())["epochs"] == 2
    assert before == {path: path.stat().st_mtime for path in workdir.rglob("*") if path.is_file()}
