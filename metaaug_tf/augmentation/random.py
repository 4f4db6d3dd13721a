"""Random numbers that depend on (run seed, epoch, index of the example) alone, from TensorFlow's stateless Philox."""

import tensorflow as tf

from metaaug_tf.ops.blocks import map_in_blocks

# Each use draws from a stream of its own, so that none shares random numbers with another.
TRANSFORMATION_STREAM, CROP_AND_FLIP_STREAM, CUTOUT_STREAM, RESIZED_CROP_STREAM = range(4)
_STREAMS = 8


def uniform_per_example(stream: int, seed, epoch, indices, count: int) -> tf.Tensor:
    """Uniform numbers for each example, the same on every device, thread and replica and in every batch.

    Args:
        stream: which use, one of the constants of this file.
        seed: scalar int, the seed of the run, in [0, 2**60).
        epoch: scalar int from 0 to 2**31 - 1.
        indices: [B] int64 from 0 to 2**32 - 1, the position of each example in its dataset.
        count: how many numbers per example.

    Returns:
        [B, count] float32 in [0, 1).

    Reference: tf.random.stateless_uniform with alg="philox" (Salmon et al., Parallel random numbers, 2011).
    """
    key, counters = _key_and_counters(stream, seed, epoch, indices)
    return map_in_blocks(
        lambda _, block: _uniform_block(key, block, count), [counters], tf.TensorSpec([count], tf.float32)
    )


def seed_per_example(stream: int, seed, epoch, indices) -> tf.Tensor:
    """Seeds int64 [B, 2] for stateless operations, one for each example; arguments as for `uniform_per_example`."""
    key, counters = _key_and_counters(stream, seed, epoch, indices)
    return tf.stack([tf.fill(tf.shape(counters), key), counters], axis=1)


def _key_and_counters(stream: int, seed, epoch, indices) -> tuple[tf.Tensor, tf.Tensor]:
    key = tf.cast(seed, tf.int64) * _STREAMS + stream
    return key, tf.bitwise.left_shift(tf.cast(epoch, tf.int64), 32) + tf.cast(indices, tf.int64)


@tf.function(jit_compile=True, autograph=False)
def _uniform_block(key, counters, count):
    return tf.map_fn(
        lambda counter: tf.random.stateless_uniform([count], tf.stack([key, counter]), alg="philox"),
        counters,
        fn_output_signature=tf.float32,
    )
