"""Batches without an example."""

from collections.abc import Callable

import tensorflow as tf


def also_empty(function: Callable[..., dict[str, tf.Tensor]]) -> Callable[..., dict[str, tf.Tensor]]:
    """The same function, but for an empty batch it computes one example of zeros and gives no result of it.

    TensorFlow 2.21's fused convolutions on CPU fail on empty batches, in a second layer ("input depth must be evenly
    divisible by filter depth").

    Args:
        function: takes tensors [B, ...] of known [...], returns a dict of tensors [B, ...].
    """

    def call(*batched):
        count = tf.shape(batched[0])[0]
        results = function(
            *(tf.cond(count > 0, lambda values=values: values, _zero_like(values)) for values in batched)
        )
        return {name: result[:count] for name, result in results.items()}

    return call


def _zero_like(values: tf.Tensor) -> Callable[[], tf.Tensor]:
    return lambda: tf.zeros([1, *values.shape[1:]], values.dtype)
