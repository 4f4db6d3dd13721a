"""Two workers on this machine train by the ordinary command: as one process would, killed, stopped and refused."""

import signal
import time
from pathlib import Path

import command_runs as kill
import numpy as np
import pytest
import worker_fit
from multi_worker import ends, workers

from metaaug_tf.checkpoints.folder import CheckpointFolder, read_checkpoint
from metaaug_tf.workers.workers import Workers

SETTINGS = (
    "--config.train_per_class=4",
    "--config.validation_per_class=2",
    "--config.test_per_class=2",
    "--config.batch_size=8",
    "--config.validation_batch_size=8",
    "--config.epochs=2",
    "--config.warmup_epochs=0",
    "--config.measure_step_ratio=False",
    "--config.checkpoint_minutes=0",
    "--config.checkpoints_kept=100",
    "--config.synchronise_batch_norm=True",
    "--config.jit_compile=False",
)
SUPPORT = Path(__file__).parents[1] / "support"
FLOAT64 = (str(SUPPORT / "float64_command.py"),)
SECONDS_TO_NOTICE = 60


def commands(workdir, *more):
    """The chief's arguments and the other worker's, whose workdir nobody may make."""
    return [f"--workdir={workdir}", *SETTINGS, *more], [f"--workdir={workdir}-of-nobody", *SETTINGS, *more]


def train(workdir, program=kill.ORDINARY):
    with workers(*commands(workdir), program=program) as processes:
        found = ends(processes, 900)
    assert [code for code, _, _ in found] == [0, 0], found
    assert not workdir.with_name(f"{workdir.name}-of-nobody").exists()
    return found


def files(workdir):
    """Names of all files, without what names of TensorBoard's depend on."""
    return {
        str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file() and "events" not in path.name
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run by two workers and by one process with two devices."""
    folder = tmp_path_factory.mktemp("runs")
    outputs = train(folder / "two")
    kill.finish(folder / "mirrored", *SETTINGS, "--distribution=mirrored", "--devices=2")
    return folder, outputs


def assert_same_training(wanted, found, tolerance):
    """All 18 steps: every variable after each of them, apart from metrics of an epoch under way, and what came out."""
    names, of_found = (CheckpointFolder(folder / "checkpoints").names() for folder in (wanted, found))
    assert len(names) == 18 and names == of_found
    differences = []
    for name in sorted(names):
        one, other = (read_checkpoint(folder / "checkpoints" / name).tensors for folder in (wanted, found))
        assert one.keys() == other.keys()
        own = [key for key in one if not key.startswith("metrics/")]
        differences.append(max(np.abs(one[key].astype(float) - other[key]).max() for key in own))
    print("largest difference after each step:", " ".join(f"{value:.1e}" for value in differences))
    assert max(differences) < tolerance
    (position, _, rows, _, accuracies), results = kill.results(wanted), kill.results(found)
    assert position == results[0] and accuracies == pytest.approx(results[4], rel=1e-6)
    for row, other in zip(rows, results[2], strict=True):
        assert row == pytest.approx(other, rel=1e-6, abs=1e-6)


@pytest.mark.long
def test_two_workers_train_a_small_network_as_one_process_does(tmp_path):
    """Every variable after every step, in float64, where only the order of sums differs."""
    with workers([tmp_path], [tmp_path], program=(str(SUPPORT / "worker_fit.py"),)) as processes:
        found = ends(processes, 300)
    assert [code for code, _, _ in found] == [0, 0], found
    assert not (tmp_path / "other").exists(), "the chief alone writes"
    worker_fit.train(tmp_path / "one", Workers())
    names, of_one = (CheckpointFolder(tmp_path / name).names() for name in ("chief", "one"))
    assert names == of_one and len(names) == worker_fit.STEPS
    for name in names:
        two, one = (read_checkpoint(tmp_path / part / name) for part in ("chief", "one"))
        assert one.tensors.keys() == two.tensors.keys() and (one.metadata["replicas"], two.metadata["replicas"]) == (
            1,
            2,
        )
        for key, array in one.tensors.items():
            if key.startswith("metrics/") and two.tensors[key].ndim > array.ndim:
                continue  # in the middle of an epoch each replica has its part
            np.testing.assert_allclose(two.tensors[key], array, rtol=0, atol=1e-12, err_msg=f"{name} {key}")


@pytest.mark.slow
def test_two_workers_come_to_what_one_process_with_one_device_comes_to(tmp_path):
    kill.finish(tmp_path / "one", *SETTINGS, program=FLOAT64)
    train(tmp_path / "two", FLOAT64)
    assert_same_training(tmp_path / "one", tmp_path / "two", 1e-12)


@pytest.mark.slow
def test_two_workers_come_to_what_two_devices_come_to(runs):
    """In float32: both add up the same two parts."""
    assert_same_training(runs[0] / "mirrored", runs[0] / "two", 1e-6)


@pytest.mark.slow
def test_files_are_written_once_by_the_chief(runs):
    folder, ((_, chief, _), (_, other, _)) = runs
    assert files(folder / "mirrored") == files(folder / "two")
    assert "test accuracy" in chief and "2 devices" in chief
    assert other.splitlines()[1:] == [], "the other worker only says that it waits"


def wait_for_checkpoints(workdir, processes, count):
    while len(CheckpointFolder(workdir / "checkpoints").names()) < count:
        assert all(process.poll() is None for process in processes), ends(processes)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1], ids=["chief", "other"])
def test_a_worker_killed_the_other_stops_and_all_go_on_to_the_bit(runs, tmp_path, victim):
    workdir = tmp_path / "killed"
    with workers(*commands(workdir)) as processes:
        wait_for_checkpoints(workdir, processes, 3)
        processes[victim].kill()
        killed = time.monotonic()
        code, _, errors = ends([processes[1 - victim]], SECONDS_TO_NOTICE)[0]
        print(f"noticed after {time.monotonic() - killed:.1f} s:", errors[-400:])
    assert code == 75 and "lost contact with" in errors and "Start all workers again" in errors
    assert "Traceback" not in errors
    assert "resuming" in train(workdir)[0][1]
    kill.assert_same(kill.results(runs[0] / "two"), kill.results(workdir))


@pytest.mark.slow
def test_a_signal_to_one_worker_stops_both_after_the_same_step(runs, tmp_path):
    workdir = tmp_path / "stopped"
    with workers(*commands(workdir)) as processes:
        wait_for_checkpoints(workdir, processes, 2)
        processes[1].send_signal(signal.SIGTERM)
        found = ends(processes)
    assert [code for code, _, _ in found] == [143, 143], found
    assert all("to resume:" in errors and "Traceback" not in errors for _, _, errors in found)
    assert "resuming" in train(workdir)[0][1]
    kill.assert_same(kill.results(runs[0] / "two"), kill.results(workdir))


REFUSED = {
    "settings": ([], ["--config.learning_rate=0.2"], "worker 1 (ADDRESS) differs:\n  learning_rate: 0.1 -> 0.2"),
    "devices": ([], ["--devices=2"], "worker 1 (ADDRESS): --devices=2, but without GPUs"),
    "batches": (
        ["--config.batch_size=9"],
        ["--config.batch_size=9"],
        "batch_size must be a multiple of the 2 devices, got 9; use 8 or 10",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("reason", REFUSED)
def test_what_can_not_be_is_refused_by_both_with_the_reason(tmp_path, reason):
    chief, other, message = REFUSED[reason]
    of_chief, of_other = commands(tmp_path / "run")
    with workers([*of_chief, *chief], [*of_other, *other]) as processes:
        found = ends(processes)
        address = found[1][1].split("(")[1].split(")")[0]
    for code, _, errors in found:
        assert code == 2 and message.replace("ADDRESS", address) in errors and "Traceback" not in errors, errors
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.long
@pytest.mark.parametrize(("signum", "expected"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_worker_that_waits_in_vain_can_be_stopped(tmp_path, signum, expected):
    with workers(commands(tmp_path / "run")[0], absent=1) as (process,):
        assert "waits for the others" in process.stdout.readline()
        process.send_signal(signum)
        code, _, errors = ends([process], 20)[0]
    assert code == expected and "stopped; to resume" in errors and "Traceback" not in errors


@pytest.mark.long
def test_a_workdir_that_the_chief_refuses_both_refuse(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with workers(*commands(tmp_path / "run")) as processes:
        found = ends(processes)
    for code, _, errors in found:
        assert code == 2 and "not empty and holds no run (notes.txt)" in errors and "Traceback" not in errors, errors
