"""Callbacks that write metrics.jsonl, a row per epoch, and sampler.json; each file is whole or as it was before."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from metaaug_tf.files import dispensable, write_text
from metaaug_tf.policy.folder import write_sampler
from metaaug_tf.run_folder import file_errors_as_os_errors


class MetricsLog(keras.callbacks.Callback):
    """Writes a row per epoch: Keras's logs, learning rate, speed and the fraction of time spent waiting for input.

    The rows are also part of its state, and so of checkpoints: a resumed run writes the file again from them.
    """

    def __init__(self, path: Path, images_per_epoch: int):
        """Starts without rows.

        Args:
            path: the file, RunFolder.metrics.
            images_per_epoch: number of training images in an epoch.
        """
        super().__init__()
        self._path, self._images = path, images_per_epoch
        self._rows: list[dict] = []
        self._lines: list[str] = []  # of the rows, so that an epoch encodes its own alone
        self._spent = dict.fromkeys(("seconds", "cpu_seconds", "waited"), 0.0)

    def get_state(self) -> dict:
        """Returns the rows and the time that the current epoch has taken so far, JSON values."""
        self._take_time()
        return {"rows": self._rows, "spent": self._spent}

    def set_state(self, state: dict) -> None:
        """Resumes from what `get_state` returned."""
        self._rows, self._spent = list(state["rows"]), dict(state["spent"])
        self._lines = [_line(row) for row in self._rows]

    def on_train_begin(self, logs=None):
        """Forgets the rows of an earlier training."""
        self._rows, self._lines = [], []

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the epoch's clock."""
        self._spent = dict.fromkeys(self._spent, 0.0)
        self.model.input_clock.read_and_reset()
        self._counted = self._last_batch = _clocks()

    def on_train_batch_end(self, batch, logs=None):
        """Notes when the last batch ended, so that validation does not count as training."""
        self._last_batch = _clocks()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the row; where that fails it is kept for the next time."""
        self._take_time()
        seconds = max(self._spent["seconds"], 1e-9)
        row = {
            "epoch": epoch,
            **{key: finite_or_none(float(value)) for key, value in (logs or {}).items()},
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": seconds,
            "cpu_seconds": self._spent["cpu_seconds"],
            "images_per_second": self._images / seconds,
            # The wait is measured with the system's clock, which may be set back.
            "input_bound_fraction": min(1.0, max(0.0, self._spent["waited"] / seconds)),
        }
        self._rows.append(row)
        self._lines.append(_line(row))
        self._spent = dict.fromkeys(self._spent, 0.0)
        with dispensable(self._path, f"the row of epoch {epoch + 1} follows with the next"):
            self._write()

    def on_train_end(self, logs=None):
        """Writes the rows that may not have been written yet."""
        self._write()

    def _write(self) -> None:
        write_text(self._path, "".join(self._lines))

    def _take_time(self) -> None:
        """Adds the time up to the last batch to what the epoch has taken."""
        for key, before, now in zip(("seconds", "cpu_seconds"), self._counted, self._last_batch, strict=True):
            self._spent[key] += now - before
        self._spent["waited"] += self.model.input_clock.read_and_reset()
        self._counted = self._last_batch


def _line(row: dict) -> str:
    return json.dumps(row) + "\n"


def _clocks() -> tuple[float, float]:
    """Elapsed time and the CPU time of this process, in seconds; other processes slow down only the first."""
    return time.monotonic(), time.process_time()


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN; a value that is not finite is written as null."""
    return value if math.isfinite(value) else None


class TensorBoardLog(keras.callbacks.TensorBoard):
    """Keras's TensorBoard callback, except that a disk that is full or gone ends its log and not the training."""

    def _write(self, method: Callable, *arguments: Any) -> None:
        with dispensable(Path(self.log_dir), "what TensorBoard would show of it is lost"), file_errors_as_os_errors():
            method(*arguments)

    def on_train_begin(self, logs=None):
        """As Keras's."""
        self._write(super().on_train_begin, logs)

    def on_epoch_end(self, epoch, logs=None):
        """As Keras's."""
        self._write(super().on_epoch_end, epoch, logs)

    def on_test_end(self, logs=None):
        """As Keras's."""
        self._write(super().on_test_end, logs)

    def on_train_end(self, logs=None):
        """As Keras's."""
        self._write(super().on_train_end, logs)


class SamplerLog(keras.callbacks.Callback):
    """Writes sampler.json when training starts and after each epoch.

    Where that fails the table of the next epoch is written; only the history lacks one.

    Example:
        model.fit(dataset, epochs=30, callbacks=[SamplerLog(Path("runs/x/policy"))])
    """

    def __init__(self, folder: Path):
        """Writes nothing yet.

        Args:
            folder: the policy folder, RunFolder.policy; made where it is not there.
        """
        super().__init__()
        self._folder = folder

    def _write(self) -> None:
        sampler = self.model.sampler
        with dispensable(self._folder, "the sampler's table follows after the next epoch"):
            write_sampler(self._folder, sampler.probabilities.numpy(), int(sampler.epoch.numpy()))

    def on_train_begin(self, logs=None):
        """Writes the table that the first epoch draws from."""
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the table that the next epoch draws from."""
        self._write()
