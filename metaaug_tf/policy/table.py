"""The sampler's table of probabilities: reading it, and what it has become in numbers; without TensorFlow.

The file is data, and whoever wrote it is not trusted: all that is used of it is checked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaaug_tf.errors import UserError
from metaaug_tf.files import read_json
from metaaug_tf.run_folder import PolicyFolder

FORMAT_VERSION = 1


@dataclass(frozen=True)
class SamplerTable:
    """The distribution that pairs of K operations are drawn from, and how it moved.

    Attributes:
        operations: K different names.
        probabilities: float64 [K, K] as stored, rows the first operation: not negative, with a sum above zero.
        history: (number of epochs trained before, such a table) in order; empty where none was kept.
    """

    operations: tuple[str, ...]
    probabilities: np.ndarray
    history: tuple[tuple[int, np.ndarray], ...] = ()

    @property
    def table(self) -> np.ndarray:
        """The probabilities scaled to sum 1, float64 [K, K]."""
        return self.probabilities / self.probabilities.sum()

    @property
    def initial(self) -> np.ndarray:
        """The table before anything was learned, float64 [K, K] of sum 1; uniform where it was not kept."""
        return initial_distribution(self.history, len(self.operations))

    def pair_ratios(self, table: np.ndarray) -> np.ndarray:
        """How often each pair is drawn from a table [K, K] of any scale, relative to the initial one: [K, K]."""
        return relative(table / table.sum(), self.initial)

    def operation_ratios(self, table: np.ndarray) -> np.ndarray:
        """How often each operation is drawn from a table [K, K] of any scale, relative to the initial one: [K]."""
        return relative_frequencies(table / table.sum(), self.initial)


def relative(drawn: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """How often something is drawn relative to the initial distribution, 1 where that never draws it.

    Args:
        drawn: float array of probabilities.
        initial: float array of the same shape.

    Returns:
        Float array of that shape.
    """
    return np.divide(drawn, initial, out=np.ones_like(drawn), where=initial > 0)


def relative_frequencies(table: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """How often each operation is drawn, first or second, relative to the initial distribution: two [K, K] -> [K]."""
    return relative(*(part.sum(axis=0) + part.sum(axis=1) for part in (table, initial)))


def initial_distribution(history: Iterable[tuple[int, np.ndarray]], operations: int) -> np.ndarray:
    """The table of epoch 0 in a history of (epoch, table [K, K]), scaled to sum 1; uniform where it was not kept."""
    for epoch, table in history:
        if epoch == 0:
            return np.asarray(table, float) / np.sum(table)
    return np.full((operations, operations), 1 / operations**2)


def read_table(folder: str | Path) -> SamplerTable:
    """Reads sampler.json of a policy folder, whatever its operations are.

    Raises:
        UserError: it is absent, damaged or of another version.
    """
    path = PolicyFolder(folder).sampler
    value = read_versioned(path)
    try:
        operations = _names(value.get("operations"))
        probabilities = _table(value.get("probabilities"), len(operations))
        return SamplerTable(operations, probabilities, _history(value.get("history", []), len(operations)))
    except ValueError as error:
        raise UserError(f"{path} is not a sampler's table: {error}") from error


def read_versioned(path: Path) -> dict[str, Any]:
    """Reads a JSON object of this version of the format, a file of a policy folder.

    Raises:
        UserError: it is absent, can't be read, is no object or of another version.
    """
    try:
        value = read_json(path)
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} is not a policy folder: it has no {path.name}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object, got a {type(value).__name__}")
    if value.get("version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has version {value.get('version')!r}; this package reads version {FORMAT_VERSION}. "
            "Use the package that wrote it"
        )
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError("operations must be a list of names")
    if len(set(value)) < len(value):
        raise ValueError("operations must be a list of different names")
    return tuple(value)


def _table(value: Any, size: int) -> np.ndarray:
    try:
        table = np.asarray(value)
    except ValueError:  # rows of different lengths
        table = np.empty(0)
    # Texts, and numbers too large for any type, are of other kinds.
    if table.shape == (size, size) and table.dtype.kind in "iuf":
        table = table.astype(float)
        with np.errstate(over="ignore"):
            total = table.sum()
        if (table >= 0).all() and 0 < total < np.inf:
            return table
    raise ValueError(f"probabilities must be a table of {size} x {size} finite numbers, not negative and not all zero")


def _history(value: Any, size: int) -> tuple[tuple[int, np.ndarray], ...]:
    if not isinstance(value, list) or not all(isinstance(row, list) and len(row) == 2 for row in value):
        raise ValueError("history must be a list of [epoch, table]")
    tables = {epoch: _table(table, size) for epoch, table in value if type(epoch) is int and epoch >= 0}
    if len(tables) < len(value):
        raise ValueError("history must have different epochs, whole numbers from 0")
    return tuple(sorted(tables.items(), key=lambda item: item[0]))
