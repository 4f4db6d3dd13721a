"""What a policy remembers of each training image: how its label has fared in the classifier's eyes."""

from collections.abc import Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError

# Of the newest visit in the running mean, once there were as many visits as make a plain mean.
_NEWEST = 0.3
# The index of an image that nothing is remembered of.
UNKNOWN = -1


class _Labelled(Protocol):
    """A training set, as metaaug_tf.data.examples has them."""

    def __len__(self) -> int: ...

    def class_sizes(self, classes: int) -> np.ndarray | None: ...


@keras.saving.register_keras_serializable("metaaug_tf")
class SampleMemory(keras.layers.Layer):
    """A running mean of each training image's margin over its visits, and the sizes of the classes.

    The margin is the probability of the label minus the largest of another class, in [-1, 1]; its mean over the
    training is a known sign of a wrong label (Pleiss et al., NeurIPS 2020). All state is in Keras variables, so it is
    saved with the model and resumed to the last bit.

    Attributes:
        examples: number of training images N.
        class_sizes: tuple of the number of training images of each class; () where unknown.
        margins: float32 [N], the running means; 0 before the first visit.
        visits: int32 [N], the number of batches that each image was in.
    """

    def __init__(self, examples: int, class_sizes: Sequence[int] = (), **kwargs: Any) -> None:
        """Creates an empty memory.

        Args:
            examples: number of training images, at least 1.
            class_sizes: number of training images of each class.
            **kwargs: keras.layers.Layer's.

        Raises:
            UserError: no images.
        """
        if examples < 1:
            raise UserError(f"examples must be the number of training images, at least 1, got {examples}")
        kwargs.setdefault("name", "memory")
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.examples, self.class_sizes = int(examples), tuple(int(size) for size in class_sizes)
        self.margins = self.add_weight((self.examples,), "zeros", name="margins", trainable=False)
        self.visits = self.add_weight((self.examples,), "zeros", dtype="int32", name="visits", trainable=False)
        self.built = True

    @classmethod
    def of(cls, train: _Labelled, classes: int) -> "SampleMemory":
        """Returns an empty memory for a training set, such as ma.Examples.

        Args:
            train: its size is read, and its class sizes where they are known.
            classes: number of classes.
        """
        sizes = train.class_sizes(classes)
        return cls(len(train), () if sizes is None else sizes.tolist())

    def recalled(self, indices: tf.Tensor, margins: tf.Tensor) -> tf.Tensor:
        """Returns the running means float32 [B] that these visits lead to; changes nothing.

        Args:
            indices: int [B], of the images in the training set; UNKNOWN has no past.
            margins: float [B], of the visits.
        """
        place = tf.maximum(indices, 0)
        visits = tf.where(indices >= 0, tf.gather(self.visits.value, place), 0)
        past = tf.gather(self.margins.value, place)
        return past + _newest_fraction(visits) * (tf.cast(margins, past.dtype) - past)

    def observe(self, indices: tf.Tensor, margins: tf.Tensor) -> None:
        """Takes in one batch; runs inside the training step. An image that is in it several times had one visit.

        Args:
            indices: int [B], as in `recalled`; on several replicas of the global batch.
            margins: float [B].
        """
        known = indices >= 0
        place, values = tf.maximum(indices, 0)[:, None], tf.cast(margins, tf.float32)
        sums = tf.scatter_nd(place, tf.where(known, values, 0.0), [self.examples])
        counts = tf.scatter_nd(place, tf.cast(known, tf.int32), [self.examples])
        means = tf.math.divide_no_nan(sums, tf.cast(counts, tf.float32))
        old = self.margins.value
        self.margins.assign(tf.where(counts > 0, old + _newest_fraction(self.visits.value) * (means - old), old))
        self.visits.assign_add(tf.minimum(counts, 1))

    def frequencies(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns how frequent the labels' classes are, float32 [B]: ln(size / smallest size) / ln 100, 0 if unknown.

        Args:
            labels: int [B], class indices.
        """
        if not self.class_sizes:
            return tf.zeros(tf.shape(labels), tf.float32)
        sizes = np.maximum(self.class_sizes, 1)
        return tf.gather(tf.constant(np.log(sizes / sizes.min()) / np.log(100), tf.float32), labels)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings from which an empty memory can be made again."""
        return {"name": self.name, "examples": self.examples, "class_sizes": list(self.class_sizes)}


def _newest_fraction(visits: tf.Tensor) -> tf.Tensor:
    """Returns how much the next visit counts after a number of visits: a plain mean at first, then `_NEWEST`."""
    return tf.maximum(1 / (tf.cast(visits, tf.float32) + 1), _NEWEST)
