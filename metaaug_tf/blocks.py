"""Runs a compiled function over a batch in blocks of one size, so that no batch size needs a compilation of its own."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Large enough for the cost of calling a compiled program (30 us) not to show, small enough not to waste much on the
# last block, which is filled up with zeros.
BLOCK = 32


def map_in_blocks(function: Callable, batched: Sequence[tf.Tensor], result: tf.TypeSpec) -> tf.Tensor:
    """Calls function(count, *blocks) on blocks of BLOCK examples and joins what it returns.

    Args:
        function: takes the number of examples that count, scalar int32, and one [BLOCK, ...] tensor per entry of
            `batched`; returns [BLOCK, ...], of which the first `count` are used.
        batched: tensors [B, ...] with the same B, which may be unknown when the graph is made.
        result: dtype and shape [BLOCK, ...] of what the function returns.

    Returns:
        [B, ...].
    """
    examples = tf.shape(batched[0])[0]
    blocks = (examples + BLOCK - 1) // BLOCK

    def cut(values: tf.Tensor) -> tf.Tensor:
        filled = tf.pad(values, [[0, blocks * BLOCK - examples]] + [[0, 0]] * (values.shape.rank - 1))
        return tf.reshape(filled, tf.concat([[blocks, BLOCK], tf.shape(values)[1:]], 0))

    results = tf.map_fn(
        lambda block: function(tf.minimum(examples - block[0] * BLOCK, BLOCK), *block[1:]),
        (tf.range(blocks), *map(cut, batched)),
        fn_output_signature=result,
    )
    joined = tf.reshape(results, tf.concat([[-1], tf.shape(results)[2:]], 0))[:examples]
    return tf.ensure_shape(joined, [batched[0].shape[0], *result.shape[1:]])
