"""One compiled dispatcher: applies to each image its own two operations, and only those."""

import functools

import tensorflow as tf

from metaaug_tf.ops.blocks import map_in_blocks
from metaaug_tf.ops.table import TABLE
from metaaug_tf.ops.validation import (
    check_images,
    check_magnitudes,
    check_name,
    check_pairs,
    check_same_batch,
    checked_fill,
)


def apply_operation(name: str, image, magnitude, fill=128) -> tf.Tensor:
    """Applies one operation to one image, bit by bit as Pillow does.

    Args:
        name: one of OPERATIONS.
        image: [H, W, C] uint8, C 1 or 3.
        magnitude: scalar in [-10, 10]; rounded to float32, its sign is ignored where the operation is not signed.
        fill: 0 to 255, the grey level of what comes from outside the image.

    Returns:
        [H, W, C] uint8.

    Raises:
        ValueError: on anything else; tf.errors.InvalidArgumentError for values only known when a graph runs.

    Reference: the Pillow calls in docs/operations.md.
    """
    operation = check_name(name)
    image = check_images(image, rank=3)
    magnitude = check_magnitudes(magnitude, shape=[])
    return _apply_row(TABLE[operation], image, magnitude, checked_fill(fill))


def apply_pairs(images, pairs, magnitudes, fill=128) -> tf.Tensor:
    """Applies to each image its pair of operations, the first one first, compiled by XLA.

    Args:
        images: [B, H, W, C] uint8, C 1 or 3.
        pairs: [B, 2] int, positions in OPERATIONS.
        magnitudes: [B, 2] float32 in [-10, 10], negative for the minus sign of a signed operation.
        fill: 0 to 255, the grey level of what comes from outside the image.

    Returns:
        [B, H, W, C] uint8.

    Raises:
        ValueError: on anything else; tf.errors.InvalidArgumentError for values only known when a graph runs.
    """
    images = check_images(images, rank=4)
    batch = images.shape[0]
    pairs = check_pairs(pairs, shape=[batch, 2])
    magnitudes = check_magnitudes(magnitudes, shape=[batch, 2])
    images = check_same_batch(images, pairs, magnitudes)
    fill = checked_fill(fill)
    return map_in_blocks(
        lambda count, *block: _apply_block(count, *block, fill),
        (images, pairs, magnitudes),
        tf.TensorSpec(images.shape[1:], tf.uint8),
    )


@tf.function(jit_compile=True, autograph=False)
def _apply_block(count, images, pairs, magnitudes, fill):
    """The compiled part: the first `count` of [N, H, W, C] images, each by its row of pairs and magnitudes.

    An image passes from one operation to the next, so that the block is read and written once per image, and the
    results begin empty, which is cheaper than as a copy of the images. A loop over the two operations would halve the
    compilation (3 s) but cost a copy of the image in each turn.
    """

    def apply_one(image, operation, magnitude):
        branches = [functools.partial(_apply_row, row, image, magnitude, fill) for row in TABLE]
        return tf.switch_case(operation, branches)

    def apply_pair(index, results):
        image = apply_one(tf.gather(images, index), pairs[index, 0], magnitudes[index, 0])
        image = apply_one(image, pairs[index, 1], magnitudes[index, 1])
        return index + 1, results.write(index, image)

    results = tf.TensorArray(tf.uint8, size=images.shape[0], element_shape=images.shape[1:])
    _, results = tf.while_loop(lambda index, _: index < count, apply_pair, (0, results))
    return results.stack()


def _apply_row(row, image, magnitude, fill):
    magnitude = tf.cast(magnitude, tf.float64)
    result = row.function(image, magnitude if row.signed else tf.abs(magnitude), fill)
    return tf.ensure_shape(result, image.shape)
