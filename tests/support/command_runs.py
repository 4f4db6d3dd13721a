"""Small runs of the command line in processes of their own, and what has to be the same of two of them."""

import json
import signal
import subprocess
import sys

import numpy as np

from metaaug_tf.checkpoints.folder import CheckpointFolder
from metaaug_tf.run_folder import read_rows

SETTINGS = (
    "--config.train_per_class=4",
    "--config.validation_per_class=2",
    "--config.test_per_class=2",
    "--config.batch_size=8",
    "--config.validation_batch_size=8",
    "--config.epochs=6",
    "--config.warmup_epochs=0",
    "--config.measure_step_ratio=False",
    "--config.jit_compile=False",
    "--config.checkpoint_minutes=0",
)


STEPS, KILLS = 9, 20


ORDINARY = ("-m", "metaaug_tf.main")


TIMES = ("seconds", "cpu_seconds", "images_per_second", "input_bound_fraction")


def signals_by_default():
    """For a new process, which would ignore what the tests' own process does: SIGHUP by nohup, SIGINT by `&`."""
    for signum in (signal.SIGHUP, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)


def start(workdir, *more, program=ORDINARY):
    arguments = [sys.executable, "-u", *program, f"--workdir={workdir}", *SETTINGS, *more]
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=signals_by_default
    )


def finish(workdir, *more, program=ORDINARY):
    output, errors = (process := start(workdir, *more, program=program)).communicate(timeout=900)
    assert process.returncode == 0, errors
    return output


def results(workdir):
    saved = CheckpointFolder(workdir / "checkpoints").newest_whole()
    rows = [{key: row[key] for key in row if key not in TIMES} for row in read_rows(workdir / "metrics.jsonl")]
    sampler = json.loads((workdir / "policy/sampler.json").read_text())
    summary = json.loads((workdir / "summary.json").read_text())
    accuracies = {key: summary[key] for key in ("test_accuracy", "test_loss", "validation_accuracy", "epochs")}
    arrays = {name: array for name, array in saved.tensors.items() if not name.startswith("metrics/")}
    return saved.position, arrays, rows, sampler, accuracies


def assert_same(wanted, found):
    for one, other in zip(wanted, found, strict=True):
        if isinstance(one, dict) and any(isinstance(value, np.ndarray) for value in one.values()):
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        else:
            assert one == other
