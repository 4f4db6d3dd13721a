"""Labelled images in memory and the three disjoint sets that a run works with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


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
            memory, train and test are StreamedExamples (data/streamed_examples.py).
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


# More passes over a set than one epoch can take; keeps the seeds of epochs apart.
_PASSES_PER_EPOCH = 1 << 20


class InMemory:
    """Examples as a source of training batches; StreamedExamples has the same two functions."""

    def __init__(self, examples: Examples):
        """Holds the arrays as constants of the graph."""
        self._count = len(examples)
        self._images, self._labels = tf.constant(examples.images), tf.constant(examples.labels)

    def order(self, key: int, epoch: tf.Tensor, steps: int, batch_size: int) -> tf.data.Dataset:
        """The epoch's batches of indices, int64 [batch_size], a pure function of (key, epoch)."""
        return tf.data.Dataset.from_tensor_slices(shuffled_passes(self._count, steps, batch_size, key, epoch))

    def load(self, indices: tf.Tensor, times: int, seed: int, epoch: tf.Tensor):
        """The images of a batch, each `times` times over.

        Args:
            indices: int64 [B], from `order`.
            times: how often each image is in the batch.
            seed: the run's; of no use here.
            epoch: of no use here.

        Returns:
            (draws int64 [times * B], images uint8 [times * B, H, W, C], labels int32 [times * B]); a number in draws
            is the index that random choices are made with, another one each time.
        """
        del seed, epoch
        draws = repeated(indices, self._count, times)
        chosen = draws % self._count
        return draws, tf.gather(self._images, chosen), tf.gather(self._labels, chosen)


def repeated(indices: tf.Tensor, count: int, times: int) -> tf.Tensor:
    """Indices int64 [times * B] for draws: the given ones [B] below `count`, then again from `count` on, and so on."""
    return tf.concat([indices + number * count for number in range(times)], axis=0)


def shuffled_passes(count: int, steps: int, size: int, key: int, epoch: tf.Tensor) -> tf.Tensor:
    """int64 [steps, size]: as many shuffled passes over 0..count-1 as the steps need, from (key, epoch)."""
    passes = tf.range(-(-steps * size // count), dtype=tf.int64)
    orders = tf.map_fn(lambda number: _shuffled(count, key, epoch, number), passes)
    return tf.reshape(tf.reshape(orders, [-1])[: steps * size], [steps, size])


def endless_passes(count: int, key: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """The same order as `shuffled_passes` for a number of steps that is not known: int64 scalars, as many as wanted."""
    passes = tf.data.Dataset.range(_PASSES_PER_EPOCH)
    return passes.flat_map(lambda number: tf.data.Dataset.from_tensor_slices(_shuffled(count, key, epoch, number)))


def _shuffled(count: int, key: int, epoch: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Pass `number` of an epoch over 0..count-1, int64 [count]."""
    seed = tf.stack([tf.constant(key, tf.int64), epoch * _PASSES_PER_EPOCH + number])
    return tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed)
