"""What every set of labelled images can do, in memory (examples.py) or in its files (streamed_examples.py)."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from metaaug_tf.data.examples import Examples


class LabelledImages(Protocol):
    """A training, validation or test set."""

    def __len__(self) -> int:
        """Number of examples."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of the images given out, in pixels."""

    def check(self, classes: int | None) -> None:
        """Raises UserError for images or labels that can't be trained on; `classes` is their number where known."""

    def order(self, key: int, epoch: tf.Tensor, steps: int, batch_size: int) -> tf.data.Dataset:
        """The epoch's batches in shuffled order, as `load` takes them: a pure function of (key, epoch)."""

    def load(
        self, batch: Any, times: int, seed: int | tf.Tensor, epoch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The images of a batch from `order`, each `times` times over.

        Args:
            batch: an element of `order`.
            times: number of copies of each image in the batch.
            seed: the run's.
            epoch: index of the epoch, a scalar.

        Returns:
            (draws int64 [times * B], images uint8 [times * B, H, W, C], labels int32 [times * B]); an entry of draws
            is the index that random choices are made with, another one for each copy.
        """

    def in_order(self) -> tf.data.Dataset:
        """The examples one by one, in order, as (image uint8 [H, W, C], label int32)."""

    def head(self, count: int) -> "Examples":
        """The first `count` examples, or all if there are fewer, in memory."""

    def in_memory(self, count: int) -> "Examples":
        """All examples if they are in memory, else the first `count`."""

    def class_sizes(self, classes: int) -> np.ndarray | None:
        """Number of examples of each class, int [classes]; None where that is unknown without reading everything."""

    def find_fault(self) -> str:
        """What is wrong with the first of its files that can't be read any more; "" where none is."""


def repeated(indices: tf.Tensor, count: int, times: int) -> tf.Tensor:
    """Indices int64 [times * B] for draws: the given ones [B] below `count`, then again from `count` on, and so on."""
    return tf.concat([indices + copy * count for copy in range(times)], axis=0)
