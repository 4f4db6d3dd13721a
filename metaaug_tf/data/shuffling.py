"""Indices of examples: shuffled passes over a set, from (key, epoch) alone, and copies of an index."""

import tensorflow as tf

# More passes over a set than one epoch can take; keeps the seeds of epochs apart.
_PASSES_PER_EPOCH = 1 << 20
# Streams of random numbers that must not coincide: one for each use of the run's seed.
TRAIN_ORDER, VALIDATION_ORDER, _ORDERS = 1, 2, 4


def order_key(seed: int, which: int) -> int:
    """The key of TRAIN_ORDER or VALIDATION_ORDER in a run with that seed."""
    return seed * _ORDERS + which


def shuffled_passes(count: int, steps: int, size: int, key: int, epoch: tf.Tensor) -> tf.Tensor:
    """Indices for an epoch: as many shuffled passes over a set as its steps need.

    Args:
        count: size of the set.
        steps: number of batches.
        size: of a batch.
        key: from `order_key`.
        epoch: index of the epoch, int64 scalar.

    Returns:
        int64 [steps, size], each entry from 0 to count - 1.
    """
    passes = tf.range(-(-steps * size // count), dtype=tf.int64)
    orders = tf.map_fn(lambda index: _shuffled(count, key, epoch, index), passes)
    return tf.reshape(tf.reshape(orders, [-1])[: steps * size], [steps, size])


def endless_passes(count: int, key: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """The order of `shuffled_passes` for an unknown number of steps: int64 scalars, as many as wanted."""
    passes = tf.data.Dataset.range(_PASSES_PER_EPOCH)
    return passes.flat_map(lambda index: tf.data.Dataset.from_tensor_slices(_shuffled(count, key, epoch, index)))


def repeated(indices: tf.Tensor, count: int, times: int) -> tf.Tensor:
    """Indices int64 [times * B] for draws: the given ones [B] below `count`, then again from `count` on, and so on."""
    return tf.concat([indices + copy * count for copy in range(times)], axis=0)


def _shuffled(count: int, key: int, epoch: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Pass `index` of an epoch over 0..count-1, int64 [count]."""
    seed = tf.stack([tf.constant(key, tf.int64), epoch * _PASSES_PER_EPOCH + index])
    return tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed)
