"""Reads a run folder into one record; every file but the folder itself may be absent."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from metaaug_tf.errors import UserError
from metaaug_tf.files import read_arrays, read_json
from metaaug_tf.policy.table import SamplerTable, read_table
from metaaug_tf.run_folder import RunFolder, read_rows

LEARNING_POLICY = "metaaugment"  # of "reweight" there is no transformation to report
# What observations may take in memory: pictures hardly compress, so a small file that claims much more is no run's.
# Runs of version 0.1 kept whole images, 2048 of up to 700 x 700 pixels.
_MOST_OBSERVED_BYTES, _FEW_OBSERVED_BYTES, _MOST_COMPRESSED = 2**32, 2**28, 100
_REMEDY = "Remove it to get a report without it, or write it again."

Content = TypeVar("Content")


@dataclass(frozen=True)
class Observations:
    """Augmented images with the weight that the policy gives them; pairs were drawn uniformly.

    Attributes:
        images: uint8 [N, H, W, C].
        pairs: int32 [N, 2], indices of the operations.
        magnitudes: float32 [N, 2], signed, within [-10, 10].
        weights: float64 [N], raw policy weights, all finite.
        labels: int32 [N], indices of the classes.
        not_finite: number of observations left out because their weight was not a finite number.
    """

    images: np.ndarray
    pairs: np.ndarray
    magnitudes: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    not_finite: int = 0


@dataclass(frozen=True)
class Run:
    """All that the page shows of one run.

    Attributes:
        folder: the run's folder.
        config: the resolved settings.
        summary: the figures at the end of the run.
        curves: per metric float64 [E]; "epoch" counts from 1, missing values are NaN.
        class_names: by the index of the class; empty where unknown.
        families: the family of every class, or None.
        sampler, observations: None where the run has none.
    """

    folder: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    curves: dict[str, np.ndarray]
    class_names: tuple[str, ...] = ()
    families: tuple[str, ...] | None = None
    sampler: SamplerTable | None = None
    observations: Observations | None = None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def dataset(self) -> str:
        """Name of the dataset, "unknown data" where no file names it."""
        return str(self.summary.get("dataset") or self.config.get("dataset") or "unknown data")

    @property
    def policy(self) -> str:
        """Name of the augmentation policy, "unknown policy" where no file names it."""
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
        """What follows the word "validation" where its images were also trained on, so that they measure little."""
        return ", trained on as well" if self.config.get("train_on_validation") is True else ""

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of the operations; numbered ones where the run has no sampler file."""
        if self.sampler:
            return self.sampler.operations
        last = int(self.observations.pairs.max(initial=-1)) if self.observations else -1
        return tuple(f"operation {index}" for index in range(last + 1))

    def class_name(self, label: int) -> str:
        """The name of the class with the index `label`."""
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"

    def figure(self, key: str) -> float:
        """The figure `key` of the summary; NaN where it is missing or not a number."""
        return _number(self.summary.get(key))


def read_run(folder: Path) -> Run:
    """Reads the run folder at `folder`.

    Raises:
        UserError: the folder is not a run, or one of its files is damaged; the message names the file.
    """
    files = RunFolder(folder)
    parts = (files.config, files.metrics, files.summary)
    if not any(path.is_file() for path in parts):
        raise UserError(f"{folder} is not a run folder: none of {', '.join(path.name for path in parts)} is in it")
    names, families = _read(files.classes, _classes) or ((), None)
    run = Run(
        folder=folder,
        config=_read(files.config, _json_object) or {},
        summary=_read(files.summary, _json_object) or {},
        curves=_curves(_read(files.metrics, read_rows) or []),
        class_names=names,
        families=families,
        sampler=_read(files.policy_files.sampler, lambda path: read_table(path.parent)),
        observations=_read(files.policy_files.observations, _observations),
    )
    _check_indices(run, files.policy_files.observations)
    return run


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path} is damaged: {why}. {_REMEDY}")


def _read(path: Path, parse: Callable[[Path], Content]) -> Content | None:
    """What `parse` makes of the file, None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return parse(path)
    except UserError as error:
        raise UserError(f"{error}. {_REMEDY}") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _json_object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError("it must hold a JSON object")
    return found


def _classes(path: Path) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Names of the classes, and their families where there are any."""
    found = _json_object(path)
    names = tuple(str(name) for name in found.get("class_names") or ())
    families = tuple(str(name) for name in found.get("families") or ()) or None
    if families and len(families) != len(names):
        raise ValueError(f"{len(families)} families for {len(names)} classes")
    return names, families


def _number(value: object) -> float:
    """A JSON value as a finite number, else NaN."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value) if math.isfinite(value) else math.nan
        except OverflowError:  # a whole number beyond all floats
            pass
    return math.nan


def _curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of the metrics, float64 [E]."""
    keys = {key for row in rows for key in row}
    columns = {key: np.array([_number(row.get(key)) for row in rows]) for key in keys}
    if rows:
        columns["epoch"] = columns["epoch"] + 1
    return columns


def _observations(path: Path) -> Observations:
    allowed = min(_MOST_OBSERVED_BYTES, max(_FEW_OBSERVED_BYTES, _MOST_COMPRESSED * path.stat().st_size))
    found = read_arrays(path, allowed)
    images, pairs, magnitudes = found["images"], found["pairs"], found["magnitudes"]
    weights, labels = found["weights"].astype(np.float64), found["labels"]
    count = len(weights)
    shapes_fit = pairs.shape == magnitudes.shape == (count, 2) and weights.shape == labels.shape == (count,)
    if not shapes_fit or images.ndim != 4 or len(images) != count or images.dtype != np.uint8:
        raise ValueError("its arrays do not fit together")
    if min(pairs.min(initial=0), labels.min(initial=0)) < 0:
        raise ValueError("indices of operations and classes must not be negative")
    keep = np.isfinite(weights)
    return Observations(
        images[keep], pairs[keep], magnitudes[keep], weights[keep], labels[keep], not_finite=int(count - keep.sum())
    )


def _check_indices(run: Run, path: Path) -> None:
    """Rejects observations, read from `path`, of operations or classes that the other files do not know.

    Raises:
        UserError: there are such.
    """
    seen = run.observations
    if seen is None or not len(seen.weights):
        return
    if seen.pairs.max() >= len(run.operations):
        raise _damaged(path, f"operation {seen.pairs.max()} of {len(run.operations)}")
    if run.class_names and seen.labels.max() >= len(run.class_names):
        raise _damaged(path, f"class {seen.labels.max()} of {len(run.class_names)}")
