"""The ordinary command, which also writes down what its process holds at each epoch's end: growth.jsonl in its workdir.

The figures are those that Linux gives of the process itself: open descriptors, threads and resident memory.
"""

import json
import os
import sys
import time
from pathlib import Path

import keras

from metaaug_tf.main import main
from metaaug_tf.training import fit

LOG = "growth.jsonl"
_MEBIBYTES_OF_A_PAGE = os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch(keras.callbacks.Callback):
    """Appends a row per epoch; the time is from one epoch's end to the next, with all that callbacks do."""

    def __init__(self, path):
        super().__init__()
        self._path = path
        self._before = time.monotonic(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic(), time.process_time()
        seconds, cpu_seconds = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        row = {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "resident_mib": int(Path("/proc/self/statm").read_text().split()[1]) * _MEBIBYTES_OF_A_PAGE,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
        }
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def fit_resumably(model, make_dataset, checkpoints, *, callbacks, _fit_resumably=fit.fit_resumably, **more):
    """Trains with one callback more."""
    watch = Watch(Path(sys.argv[1].removeprefix("--workdir=")) / LOG)
    _fit_resumably(model, make_dataset, checkpoints, callbacks=[*callbacks, watch], **more)


if __name__ == "__main__":
    fit.fit_resumably = fit_resumably
    sys.exit(main())
