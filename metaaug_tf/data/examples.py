"""Sets of labelled images: what each can do, those in memory, and the three disjoint ones that a run works with."""

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from metaaug_tf.data.shuffling import repeated, shuffled_passes
from metaaug_tf.errors import UserError


class LabelledImages(Protocol):
    """A training, validation or test set, in memory (Examples) or in its files (StreamedExamples)."""

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


@dataclass(frozen=True)
class Examples:
    """Labelled images of one set in memory; a `LabelledImages`, whose docstrings say what the methods do.

    Attributes:
        images: uint8 [N, H, W, C], C = 1 or 3.
        labels: int32 [N], class indices 0..classes-1.

    Both may be given as lists or tensors, labels also as [N, 1], as keras.datasets has them.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        """Turns what was given into arrays, labels [N, 1] into [N].

        Raises:
            UserError: lists of images or labels that are not all of one shape.
        """
        for name in ("images", "labels"):
            try:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
            except ValueError as error:
                raise UserError(f"{name} must all have the same shape, to make one array of them: {error}") from error
        if self.labels.ndim == 2 and self.labels.shape[1] == 1:
            object.__setattr__(self, "labels", self.labels[:, 0])

    def __len__(self) -> int:
        """Number of examples N."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of every image."""
        return self.images.shape[1:]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """(images, labels)."""
        return self.images, self.labels

    @functools.cached_property
    def tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(images, labels) outside of any graph: a graph that uses them refers to them and holds no copy."""
        with tf.init_scope():
            return tf.constant(self.images), tf.constant(self.labels)

    def check(self, classes: int | None) -> None:
        """Rejects what would end in a loss that is not finite; images of uint8 can't hold NaN.

        Raises:
            UserError: images that are not uint8 [N, H, W, C], or labels that are not N class indices.
        """
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(f"images must be uint8 [N, H, W, C], got {images.dtype} {list(images.shape)}")
        if labels.ndim == 2 and len(images) == len(labels):
            raise UserError(
                f"labels must be class indices, shape [N], got shape {list(labels.shape)}; of one-hot labels take "
                "np.argmax(labels, axis=1)"
            )
        if len(images) != len(labels) or labels.ndim != 1:
            raise UserError(
                f"labels must be one class index for each of the {len(images)} images, shape [{len(images)}], "
                f"got shape {list(labels.shape)}"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise UserError(f"labels must be integers, the class indices from 0, got {labels.dtype}")
        if len(labels) and (labels.min() < 0 or labels.max() >= (classes or np.inf)):
            wrong = labels.min() if labels.min() < 0 else labels.max()
            allowed = f"from 0 to {classes - 1}" if classes else "0 or more"
            raise UserError(f"labels must be class indices {allowed}, got {wrong}")

    def order(self, key: int, epoch: tf.Tensor, steps: int, batch_size: int) -> tf.data.Dataset:
        """The epoch's batches of indices, int64 [batch_size]."""
        return tf.data.Dataset.from_tensor_slices(shuffled_passes(len(self), steps, batch_size, key, epoch))

    def load(self, batch, times: int, seed, epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The images of a batch of indices; nothing about them is random, so seed and epoch do not matter."""
        images, labels = self.tensors
        draws = repeated(batch, len(self), times)
        chosen = draws % len(self)
        return draws, tf.gather(images, chosen), tf.gather(labels, chosen)

    def in_order(self) -> tf.data.Dataset:
        """The examples one by one, in order."""
        return tf.data.Dataset.from_tensor_slices((self.images, self.labels))

    def head(self, count: int) -> "Examples":
        """The first `count` examples, or all if there are fewer."""
        return self.take(np.arange(min(count, len(self))))

    def in_memory(self, count: int) -> "Examples":
        """All examples: they are in memory."""
        return self

    def take(self, indices: np.ndarray) -> "Examples":
        """The examples at the integer positions `indices` [M], in that order."""
        return Examples(self.images[indices], self.labels[indices])

    def class_sizes(self, classes: int) -> np.ndarray:
        """Number of examples of each class, int [classes]."""
        return np.bincount(self.labels, minlength=classes)

    def find_fault(self) -> str:
        """Nothing: what is in memory can be read."""
        return ""


@dataclass(frozen=True)
class Splits:
    """What every source returns: three disjoint sets and what is known of their classes.

    Attributes:
        train, validation, test: the three sets; no image is in two of them. Of a dataset that is too large for
            memory, train and test are StreamedExamples.
        class_names: one name per class index.
        families: per class index the name of its family (what tells it apart), or None where unknown.
        skipped: number of unreadable files left out (0 unless skipping was asked for).
        true_labels: int [N] of the training set before labels were replaced on purpose; None where none were.
    """

    train: LabelledImages
    validation: Examples
    test: LabelledImages
    class_names: tuple[str, ...]
    families: tuple[str, ...] | None = None
    skipped: int = 0
    true_labels: np.ndarray | None = None
