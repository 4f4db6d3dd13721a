"""Labelled images in memory and the three disjoint sets that a run works with."""

from dataclasses import dataclass

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

    def take(self, indices: np.ndarray) -> "Examples":
        """The examples at the integer positions `indices` [M], in that order."""
        return Examples(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """What every source returns: three disjoint sets and what is known of their classes.

    Attributes:
        train, validation, test: the three sets; no image is in two of them.
        class_names: one name per class number.
        families: per class number the name of its family (what tells it apart), or None where unknown.
        skipped: how many unreadable files were left out (0 unless skipping was asked for).
    """

    train: Examples
    validation: Examples
    test: Examples
    class_names: tuple[str, ...]
    families: tuple[str, ...] | None = None
    skipped: int = 0
