"""Runs a compiled function over a batch in blocks of few sizes, so that no batch size needs a compilation."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Examples per block: enough for the cost of calling a compiled program (0.2 ms) not to show, few enough for
# the filling of the last block not to matter, which it does for large examples in a small batch.
_SMALL_EXAMPLE_BYTES = 16384
_BLOCK, _SMALL_BLOCK = 128, 32


def block_size(example: tf.TensorSpec, batch: int | None) -> int:
    """Examples per block: one of two sizes, from dtype and shape [...] of an example and the batch size if known."""
    elements = example.shape.num_elements()
    small_example = elements is not None and elements * example.dtype.size <= _SMALL_EXAMPLE_BYTES
    return _BLOCK if small_example or (batch is not None and batch >= _BLOCK) else _SMALL_BLOCK


def map_in_blocks(function: Callable, batched: Sequence[tf.Tensor], result: tf.TensorSpec) -> tf.Tensor:
    """Calls function(count, *blocks) on blocks of N = block_size(...) examples and joins what it returns.

    Args:
        function: takes the number of examples that count, scalar int32, and one [N, ...] tensor per entry
            of `batched`; returns [N, ...], of which the first `count` are used.
        batched: tensors [B, ...] with the same B, which may be unknown when the graph is made.
        result: dtype and shape [...] of one example of what the function returns.

    Returns:
        [B, ...].
    """
    static = batched[0].shape[0]
    size = block_size(result, static)
    examples = tf.shape(batched[0])[0] if static is None else static

    def run(start):
        # A slice along the first axis shares memory with the batch.
        blocks = [values[start : start + size] for values in batched]
        count = tf.minimum(examples - start, size)
        return function(count, *(_fill_up(block, size) for block in blocks))

    if static is None:
        joined = _concatenate(run, tf.range(0, examples, size), tf.TensorSpec([size, *result.shape], result.dtype))
    elif static == size:
        return function(size, *batched)
    elif static == 0:
        joined = tf.zeros([0, *result.shape], result.dtype)
    else:
        # tf.concat of one block does not copy it.
        joined = tf.concat([run(start) for start in range(0, static, size)], 0)
    return tf.ensure_shape(joined[:examples], [static, *result.shape])


def _concatenate(run: Callable, starts: tf.Tensor, block: tf.TensorSpec) -> tf.Tensor:
    """Joins run(start) for a number of starts that is not known before the graph runs."""
    array = tf.TensorArray(block.dtype, size=tf.size(starts), element_shape=block.shape)
    _, array = tf.while_loop(
        lambda number, _: number < tf.size(starts),
        lambda number, array: (number + 1, array.write(number, run(starts[number]))),
        (0, array),
    )
    return array.concat()


def _fill_up(block: tf.Tensor, size: int) -> tf.Tensor:
    if block.shape[0] == size:
        return block
    missing = size - tf.shape(block)[0]
    padding = [[0, missing]] + [[0, 0]] * (block.shape.rank - 1)
    filled = tf.cond(missing > 0, lambda: tf.pad(block, padding), lambda: block)
    return tf.ensure_shape(filled, [size, *block.shape[1:]])
