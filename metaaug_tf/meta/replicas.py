"""Arithmetic over the replicas of a tf.distribute strategy, each of which holds a shard of the global batch.

On one replica every function returns what it was given, so that a step costs and computes what it does without
a strategy. A list is reduced by one all-reduce; docs/distribution.md counts them. All of it is differentiable in the
sense of tf.distribute: a gradient is that of the sum of what the replicas differentiate.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

# Odd and large, so that seeds drawn at random do not recur on another replica.
_SEED_STRIDE = 1_640_531_527


def count() -> int:
    """Returns how many replicas take this step together; 1 outside of a strategy's run()."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def _index() -> tf.Tensor:
    """Returns which of them this is: int32 scalar from 0."""
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)


def total(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Sums over the replicas, of tensors that have the same shape on each.

    TensorFlow joins the tensors of a list in one all-reduce, but only those of one dtype.
    """
    results = list(tensors)
    if count() == 1:
        return results
    for dtype in dict.fromkeys(tensor.dtype for tensor in results):  # in the same order on all of them
        chosen = [i for i, tensor in enumerate(results) if tensor.dtype == dtype]
        reduced = tf.distribute.get_replica_context().all_reduce("SUM", [results[i] for i in chosen])
        for i, tensor in zip(chosen, reduced, strict=True):
            results[i] = tensor
    return results


def guarded(values: Sequence[tf.Tensor], examples: tf.Tensor) -> list[tf.Tensor]:
    """Returns the values as they are; gradients through them are 0 on a replica without examples.

    There it might be NaN: BatchNorm takes the mean of nothing.

    Args:
        values: tensors or variables' values.
        examples: int scalar, the number of examples that this replica has.
    """
    if count() == 1:
        return list(values)

    @tf.custom_gradient
    def identity(value: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.identity(value), lambda gradient: tf.where(examples > 0, gradient, tf.zeros_like(gradient))

    return [identity(tf.convert_to_tensor(value)) for value in values]


@dataclass(frozen=True)
class Shard:
    """Where this replica's examples stand in the global batch, in the order of the replicas.

    Attributes:
        size: int32 scalar, the number of its examples.
        start: int32 scalar, the number of examples of the replicas before it.
        total: int32 scalar, the number of examples in the global batch.
    """

    size: tf.Tensor
    start: tf.Tensor
    total: tf.Tensor

    def gather(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the global batch's tensors [total, ...] from this replica's [size, ...]; differentiable.

        They sum what the replicas write to their own places, which adds zeros only, so values stay as they are.
        Integers, below 2^24, go as float32: not all devices reduce integers.
        """
        if count() == 1:
            return list(tensors)
        around = [self.start, self.total - self.start - self.size]
        floats = [tensor if tensor.dtype.is_floating else tf.cast(tensor, tf.float32) for tensor in tensors]
        padded = [tf.pad(tensor, [around] + [[0, 0]] * (tensor.shape.rank - 1)) for tensor in floats]
        return [tf.cast(sums, tensor.dtype) for sums, tensor in zip(total(padded), tensors, strict=True)]

    def part(self, mean: tf.Tensor) -> tf.Tensor:
        """Returns what this replica adds to the mean over the global batch, from the mean over its own examples.

        So it also divides what all replicas have alike into parts that sum to it. A replica without examples adds 0,
        even if its mean is NaN.
        """
        if count() == 1:
            return mean
        return tf.math.multiply_no_nan(mean, tf.cast(self.size / self.total, mean.dtype))

    def own(self, values: tf.Tensor) -> tf.Tensor:
        """Returns this replica's [size, ...] of the global batch's values [total, ...]."""
        return values if count() == 1 else values[self.start : self.start + self.size]


def shard(size: tf.Tensor) -> Shard:
    """Returns this replica's shard, from the number of its examples, an int32 scalar."""
    if count() == 1:
        return Shard(size, tf.constant(0), size)
    sizes = total([tf.one_hot(_index(), count()) * tf.cast(size, tf.float32)])[0]
    sizes = tf.cast(sizes, tf.int32)
    return Shard(size, tf.reduce_sum(sizes[: _index()]), tf.reduce_sum(sizes))


def own_seed(state: tf.Tensor, sign: int = 1) -> tf.Tensor:
    """Returns a keras.random.SeedGenerator's state int64 [2] for this replica; sign -1 gives back the common state."""
    if count() == 1:
        return state
    stride = tf.cast(_index(), state.dtype) * (sign * _SEED_STRIDE)
    return state + tf.stack([stride, tf.zeros_like(stride)])


class _Reduced(threading.local):
    """Whether the optimizer that this replica's thread now applies has gradients that are already sums."""

    now = False


_reduced = _Reduced()


def apply_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
) -> None:
    """Updates variables by gradients that are equal on all replicas, sums over them already.

    Keras's apply_gradients clips first and then sums over the replicas; after `total` it would sum once more. So
    its own sum is left out here, and clipping acts on the global gradient.

    Args:
        optimizer: built on the variables.
        gradients: one for every variable.
        variables: what to update.
    """
    if count() > 1 and "_all_reduce_sum_gradients" not in vars(optimizer):
        sum_over_replicas = optimizer._all_reduce_sum_gradients
        optimizer._all_reduce_sum_gradients = lambda pairs: pairs if _reduced.now else sum_over_replicas(pairs)
    _reduced.now = True
    try:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    finally:
        _reduced.now = False
