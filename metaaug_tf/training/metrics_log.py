"""metrics.jsonl: one row per epoch, whole or absent."""

import json
import math
import os
import time
from pathlib import Path

import keras

from metaaug_tf.files import write_text


class MetricsLog(keras.callbacks.Callback):
    """Appends a row per epoch: Keras's logs, learning rate, speed and the share of time spent waiting for input."""

    def __init__(self, path: Path, images_per_epoch: int, first_epoch: int = 0):
        """Keeps the rows of epochs before `first_epoch`; those of an interrupted later one are written again.

        Args:
            path: the file.
            images_per_epoch: training images that an epoch goes through.
            first_epoch: where training goes on.
        """
        super().__init__()
        self._path, self._images = path, images_per_epoch
        kept = [row for row in read_rows(path) if row["epoch"] < first_epoch]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the epoch's clock."""
        self.model.input_clock.read_and_reset()
        self._started = self._last_batch = _clocks()

    def on_train_batch_end(self, batch, logs=None):
        """Notes when the last batch ended, so that validation does not count as training."""
        self._last_batch = _clocks()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the row."""
        seconds, cpu_seconds = (max(b - a, 1e-9) for a, b in zip(self._started, self._last_batch, strict=True))
        waited = self.model.input_clock.read_and_reset()
        row = {
            "epoch": epoch,
            **{key: finite_or_none(float(value)) for key, value in (logs or {}).items()},
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "images_per_second": self._images / seconds,
            "input_bound_fraction": min(1.0, waited / seconds),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _clocks() -> tuple[float, float]:
    """Time on the wall and the CPU time of this process, in seconds; other processes slow down only the first."""
    return time.monotonic(), time.process_time()


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN; a value that is not finite is written as null."""
    return value if math.isfinite(value) else None


def read_rows(path: Path) -> list[dict]:
    """The whole rows of a metrics file; a last line that was cut off is left out, an absent file is empty."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
