"""What a table of probabilities has become, in numbers to read; without TensorFlow, as reports are written."""

from collections.abc import Iterable

import numpy as np


def relative(drawn: np.ndarray, start: np.ndarray) -> np.ndarray:
    """How often something is drawn relative to the start: two float arrays of one shape; 1 where it never was then."""
    return np.divide(drawn, start, out=np.ones_like(drawn), where=start > 0)


def start_of(history: Iterable[tuple[int, np.ndarray]], operations: int) -> np.ndarray:
    """The table of epoch 0 in a history of (epoch, table [K, K]), scaled to sum 1; uniform where it was not kept."""
    for epoch, table in history:
        if epoch == 0:
            return np.asarray(table, float) / np.sum(table)
    return np.full((operations, operations), 1 / operations**2)
