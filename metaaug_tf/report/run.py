"""Reads a run folder into one record; every file but the folder itself may be absent."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaaug_tf.errors import UserError
from metaaug_tf.files import read_arrays, read_json
from metaaug_tf.policy.table import relative, start_of

LEARNING_POLICY = "metaaugment"
# 2048 images of 700 x 700 pixels; a small file may claim any amount.
_MOST_OBSERVED_BYTES = 2**32
_PARTS = ("config.json", "metrics.jsonl", "summary.json")


@dataclass(frozen=True)
class Sampler:
    """The distribution that pairs of operations are drawn from.

    Attributes:
        operations: K names.
        table: float64 [K, K], sums to 1; rows are the first operation.
        history: (epochs trained before, table) in order; empty where none was kept.
    """

    operations: tuple[str, ...]
    table: np.ndarray
    history: tuple[tuple[int, np.ndarray], ...] = ()

    @property
    def start(self) -> np.ndarray:
        """The table before anything was learned, float64 [K, K]; uniform where it was not kept."""
        return start_of(self.history, len(self.operations))

    def ratios(self, table: np.ndarray) -> np.ndarray:
        """How often each pair is drawn by that table [K, K] relative to the start."""
        return relative(table, self.start)


@dataclass(frozen=True)
class Observations:
    """Augmented images with the weight that the policy gives them; pairs were drawn uniformly.

    Attributes:
        images: uint8 [N, H, W, C].
        pairs: int32 [N, 2], numbers of the operations.
        magnitudes: float32 [N, 2], signed, within [-10, 10].
        weights: float64 [N], raw policy weights, all finite.
        labels: int32 [N], class numbers.
        not_finite: how many observations were left out because their weight was not a finite number.
    """

    images: np.ndarray
    pairs: np.ndarray
    magnitudes: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    not_finite: int = 0


@dataclass(frozen=True)
class Run:
    """All that the page tells about one run.

    Attributes:
        folder: where it lies.
        config: the resolved settings.
        summary: the figures at the end of the run.
        curves: per metric float64 [E]; "epoch" counts from 1, missing values are NaN.
        class_names: one per class number; empty where unknown.
        families: the family of every class, or None.
        sampler, observations: None where the run has none.
    """

    folder: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    curves: dict[str, np.ndarray]
    class_names: tuple[str, ...] = ()
    families: tuple[str, ...] | None = None
    sampler: Sampler | None = None
    observations: Observations | None = None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def dataset(self) -> str:
        """Name of the dataset, "unknown data" where no file tells it."""
        return str(self.summary.get("dataset") or self.config.get("dataset") or "unknown data")

    @property
    def policy(self) -> str:
        """Name of the augmentation policy, "unknown policy" where no file tells it."""
        return str(self.summary.get("policy") or self.config.get("policy") or "unknown policy")

    @property
    def seed(self) -> object:
        """The seed of the run or None."""
        return self.summary.get("seed", self.config.get("seed"))

    @property
    def learns(self) -> bool:
        """Whether this run trained an augmentation policy."""
        return self.policy == LEARNING_POLICY

    @property
    def validation_note(self) -> str:
        """What follows the word "validation" by its figures: where such images are trained on they measure little."""
        return ", trained on as well" if self.config.get("train_on_validation") is True else ""

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of the operations; numbered ones where the run has no sampler file."""
        if self.sampler:
            return self.sampler.operations
        last = int(self.observations.pairs.max(initial=-1)) if self.observations else -1
        return tuple(f"operation {number}" for number in range(last + 1))

    def class_name(self, label: int) -> str:
        """The name of class number `label`."""
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"

    def figure(self, key: str) -> float:
        """The number `key` of the summary; NaN where it is missing or not a number."""
        return _number(self.summary.get(key))


def read_run(folder: Path) -> Run:
    """Reads the run folder at `folder`.

    Raises:
        UserError: the folder is not a run, or one of its files is damaged; the message names the file.
    """
    if not any((folder / name).is_file() for name in _PARTS):
        raise UserError(f"{folder} is not a run folder: none of {', '.join(_PARTS)} is in it")
    classes = _read(folder / "classes.json", _json_object) or {}
    names = tuple(str(name) for name in classes.get("class_names") or ())
    families = tuple(str(name) for name in classes.get("families") or ()) or None
    if families and len(families) != len(names):
        raise _damaged(folder / "classes.json", f"{len(families)} families for {len(names)} classes")
    run = Run(
        folder=folder,
        config=_read(folder / "config.json", _json_object) or {},
        summary=_read(folder / "summary.json", _json_object) or {},
        curves=_read(folder / "metrics.jsonl", _curves) or {},
        class_names=names,
        families=families,
        sampler=_read(folder / "policy" / "sampler.json", _sampler),
        observations=_read(folder / "policy" / "observations.npz", _observations),
    )
    _check_numbers(run)
    return run


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path} is damaged: {why}. Remove it to get a report without it, or write it again.")


def _read(path: Path, parse: Callable[[Path], Any]) -> Any:
    """What `parse` makes of the file, None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return parse(path)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _json_object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else math.nan


def _curves(path: Path) -> dict[str, np.ndarray]:
    """Columns of the metrics; of an epoch written twice (a resumed run) the later row counts."""
    rows = {}
    for line in filter(str.strip, path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        rows[int(row["epoch"])] = row
    ordered = [rows[epoch] for epoch in sorted(rows)]
    keys = {key for row in ordered for key in row}
    columns = {key: np.array([_number(row.get(key)) for row in ordered]) for key in keys}
    if ordered:
        columns["epoch"] = columns["epoch"] + 1
    return columns


def _table(values: object, size: int) -> np.ndarray:
    table = np.asarray(values, dtype=np.float64)
    if table.shape != (size, size):
        raise ValueError(f"a table of shape {table.shape} for {size} operations")
    if not np.all(np.isfinite(table)) or table.min() < 0 or abs(table.sum() - 1) > 1e-3:
        raise ValueError("the probabilities are not non-negative numbers that sum to 1")
    return table


def _sampler(path: Path) -> Sampler:
    found = _json_object(path)
    operations = tuple(str(name) for name in found["operations"])
    history = [(int(epoch), _table(values, len(operations))) for epoch, values in found.get("history") or ()]
    history.sort(key=lambda entry: entry[0])
    return Sampler(operations, _table(found["probabilities"], len(operations)), tuple(history))


def _observations(path: Path) -> Observations:
    found = read_arrays(path, _MOST_OBSERVED_BYTES)
    images, pairs, magnitudes = found["images"], found["pairs"], found["magnitudes"]
    weights, labels = found["weights"].astype(np.float64), found["labels"]
    count = len(weights)
    shapes_fit = pairs.shape == magnitudes.shape == (count, 2) and weights.shape == labels.shape == (count,)
    if not shapes_fit or images.ndim != 4 or len(images) != count or images.dtype != np.uint8:
        raise ValueError("its arrays do not fit together")
    if min(pairs.min(initial=0), labels.min(initial=0)) < 0:
        raise ValueError("negative numbers of operations or classes")
    keep = np.isfinite(weights)
    arrays = (values[keep] for values in (images, pairs, magnitudes, weights, labels))
    return Observations(*arrays, not_finite=int(count - keep.sum()))


def _check_numbers(run: Run) -> None:
    """Refuses observations of operations or classes that the other files do not know."""
    seen = run.observations
    if seen is None or not len(seen.weights):
        return
    path = run.folder / "policy" / "observations.npz"
    if seen.pairs.max() >= len(run.operations):
        raise _damaged(path, f"operation {seen.pairs.max()} of {len(run.operations)}")
    if run.class_names and seen.labels.max() >= len(run.class_names):
        raise _damaged(path, f"class {seen.labels.max()} of {len(run.class_names)}")
