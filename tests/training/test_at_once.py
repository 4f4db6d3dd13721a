"""Several commands on one run at the same moment: each ends well or says why not, and none leaves half of anything."""

import signal
import time

import pytest
from command_runs import start

from metaaug_tf.checkpoints.folder import CheckpointFolder

TRAINS = ("--policy=none", "--config.epochs=100000", "--config.checkpoints_kept=1")


def start_two(workdir):
    """Starts the same training twice; returns the one that trains and the exit code and messages of the other."""
    both = [start(workdir, *TRAINS) for _ in range(2)]
    deadline = time.monotonic() + 300
    while all(process.poll() is None for process in both) and time.monotonic() < deadline:
        time.sleep(0.1)
    other = next(process for process in both if process.poll() is not None)
    both.remove(other)
    return both[0], other.returncode, other.communicate()[1]


@pytest.mark.slow
def test_all_commands_at_once_on_a_run_that_trains(tmp_path):
    run = tmp_path / "run"
    training, code, errors = start_two(run)
    try:
        assert code == 2 and f"in use by another process (ID {training.pid}" in errors, errors
        while not CheckpointFolder(run / "checkpoints").names():
            assert training.poll() is None
            time.sleep(0.1)
        modes = ["report", "report", "export", "export", "evaluate", "train"]
        others = [start(run, *TRAINS, f"--mode={mode}") for mode in modes]
        for mode, process in zip(modes, others, strict=True):
            output, errors = process.communicate(timeout=900)
            assert "Traceback" not in errors, (mode, errors)
            if mode == "train":
                assert process.returncode == 2 and "in use by another process" in errors, errors
            else:
                assert process.returncode == 0 and output, (mode, errors)
    finally:
        training.send_signal(signal.SIGTERM)
        _, errors = training.communicate(timeout=300)
    assert training.returncode == 143 and "Traceback" not in errors, errors
    assert not list(run.rglob(".part.*"))
    assert CheckpointFolder(run / "checkpoints").newest_whole() is not None
    for version in ("1", "2"):
        assert (run / "export/task" / version / "saved_model.pb").is_file()
    assert (run / "report.html").read_text().rstrip().endswith("</html>")
    assert not (run / "summary.json").exists()
