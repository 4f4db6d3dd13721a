"""Runs a compiled function over a batch in blocks of one size, so that no batch size needs a compilation."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Large enough for the cost of calling a compiled program (30 us) not to show, small enough not to waste much
# on the last block, which is filled up with zeros.
BLOCK = 32


def map_in_blocks(function: Callable, batched: Sequence[tf.Tensor], result: tf.TensorSpec) -> tf.Tensor:
    """Calls function(count, *blocks) on blocks of BLOCK examples and joins what it returns.

    Args:
        function: takes the number of examples that count, scalar int32, and one [BLOCK, ...] tensor per entry
            of `batched`; returns [BLOCK, ...], of which the first `count` are used.
        batched: tensors [B, ...] with the same B, which may be unknown when the graph is made.
        result: dtype and shape [...] of one example of what the function returns.

    Returns:
        [B, ...].
    """
    examples = tf.shape(batched[0])[0]

    def run(start: tf.Tensor) -> tf.Tensor:
        # A slice along the first axis shares memory with the batch.
        blocks = [values[start : start + BLOCK] for values in batched]
        count = tf.minimum(examples - start, BLOCK)
        return function(count, *(_fill_up(block, BLOCK - count) for block in blocks))

    static = batched[0].shape[0]
    if static is not None and static <= BLOCK:
        joined = run(tf.constant(0))
    else:
        joined = _concatenate(run, tf.range(0, examples, BLOCK), result)
    return tf.ensure_shape(joined[:examples], [static, *result.shape])


def _concatenate(run: Callable, starts: tf.Tensor, result: tf.TensorSpec) -> tf.Tensor:
    array = tf.TensorArray(
        result.dtype, size=tf.size(starts), element_shape=[BLOCK, *result.shape], infer_shape=False
    )
    _, array = tf.while_loop(
        lambda number, _: number < tf.size(starts),
        lambda number, array: (number + 1, array.write(number, run(starts[number]))),
        (0, array),
    )
    return array.concat()


def _fill_up(block: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    padding = [[0, missing]] + [[0, 0]] * (block.shape.rank - 1)
    filled = tf.cond(missing > 0, lambda: tf.pad(block, padding), lambda: block)
    return tf.ensure_shape(filled, [BLOCK, *block.shape[1:]])
