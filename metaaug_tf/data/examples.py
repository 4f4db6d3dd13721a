"""Labelled images in memory and the three disjoint sets that a run works with."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Examples:
    """Labelled images of one set.

    Attributes:
        images: uint8 [N, H, W, C], C = 1 or 3.
        labels: int32 [N], class numbers 0..classes-1.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Number of examples N."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of every image."""
        return self.images.shape[1:]

    def head(self, count: int) -> "Examples":
        """The first `count` examples, or all if there are fewer."""
        return self.take(np.arange(min(count, len(self))))

    def take(self, indices: np.ndarray) -> "Examples":
        """The examples at the integer positions `indices` [M], in that order."""
        return Examples(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """What every source returns: three disjoint sets and what is known of their classes.

    Attributes:
        train, validation, test: the three sets; no image is in two of them. Of a dataset that is too large for
            memory, train and test are StreamedExamples (data/stream.py).
        class_names: one name per class number.
        families: per class number the name of its family (what tells it apart), or None where unknown.
        skipped: how many unreadable files were left out (0 unless skipping was asked for).
    """

    train: Any
    validation: Examples
    test: Any
    class_names: tuple[str, ...]
    families: tuple[str, ...] | None = None
    skipped: int = 0
