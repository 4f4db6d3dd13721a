"""The standard augmentation around the learned one: crop and flip before it, Cutout after it.

Each random choice is a pure function of (seed, epoch, index of the example), as in metaaug_tf.augmentation.transform.
"""

import tensorflow as tf

from metaaug_tf.augmentation.random import CROP_AND_FLIP_STREAM, CUTOUT_STREAM, uniform_per_example
from metaaug_tf.ops.blocks import map_in_blocks
from metaaug_tf.ops.validation import check_images, checked_fill


def crop_and_flip(images, seed, epoch, indices, *, padding: int, flip: bool, fill: int) -> tf.Tensor:
    """Pads each image on all sides, crops it back to its size at a random place, and mirrors it half of the time.

    Args:
        images: [B, H, W, C] uint8, C 1 or 3.
        seed: scalar int, the seed of the run.
        epoch: scalar int from 0.
        indices: [B] int64 from 0 to 2**32 - 1, the position of each example in its dataset.
        padding: pixels added on each side, 0 or more; the 2 * padding + 1 places in each direction are equally likely.
        flip: whether to mirror left and right with probability 1/2.
        fill: 0 to 255, the grey level of the padding.

    Returns:
        [B, H, W, C] uint8.

    Raises:
        ValueError: on other images, a negative padding or a fill outside 0..255.

    Reference: Lee et al., Deeply-Supervised Nets, 2015.
    """
    images, fill = check_images(images, rank=4), checked_fill(fill)
    if padding < 0:
        raise ValueError(f"padding must be 0 pixels or more, got {padding}")
    uniform = uniform_per_example(CROP_AND_FLIP_STREAM, seed, epoch, indices, 3)
    corners = tf.cast(uniform[:, :2] * float(2 * padding + 1), tf.int32)
    mirrored = (uniform[:, 2] < 0.5) & flip
    return map_in_blocks(
        lambda _, *block: _crop_and_flip_block(*block, fill, padding),
        (images, corners, mirrored),
        tf.TensorSpec(images.shape[1:], tf.uint8),
    )


def cutout(images, seed, epoch, indices, *, size: int, fill: int) -> tf.Tensor:
    """Fills one square of each image, its centre uniform over the image, its part outside cut off.

    Args:
        images: [B, H, W, C] uint8, C 1 or 3.
        seed: scalar int, the seed of the run.
        epoch: scalar int from 0.
        indices: [B] int64 from 0 to 2**32 - 1, the position of each example in its dataset.
        size: side of the square in pixels; 0 for none.
        fill: 0 to 255, the grey level of the square.

    Returns:
        [B, H, W, C] uint8.

    Raises:
        ValueError: on other images, a negative size or a fill outside 0..255.

    Reference: DeVries and Taylor, arXiv 1708.04552.
    """
    images, fill = check_images(images, rank=4), checked_fill(fill)
    if size < 0:
        raise ValueError(f"size must be 0 pixels or more, got {size}")
    extent = tf.shape(images)[1:3]
    uniform = uniform_per_example(CUTOUT_STREAM, seed, epoch, indices, 2)
    centers = tf.cast(uniform * tf.cast(extent, tf.float32), tf.int32)
    return map_in_blocks(
        lambda _, *block: _cutout_block(*block, fill, size),
        (images, centers),
        tf.TensorSpec(images.shape[1:], tf.uint8),
    )


@tf.function(jit_compile=True, autograph=False)
def _crop_and_flip_block(images, corners, mirrored, fill, padding):
    def one(inputs):
        image, (top, left), mirror = inputs
        height, width, _ = tf.unstack(tf.shape(image))
        y, x = tf.range(height), tf.range(width)
        x = tf.where(mirror, width - 1 - x, x)
        padded = tf.pad(image, [[padding] * 2, [padding] * 2, [0, 0]], constant_values=fill)
        return tf.gather(tf.gather(padded, y + top), x + left, axis=1)

    return tf.map_fn(one, (images, tuple(tf.unstack(corners, axis=1)), mirrored), fn_output_signature=tf.uint8)


@tf.function(jit_compile=True, autograph=False)
def _cutout_block(images, centers, fill, size):
    first = centers[:, tf.newaxis] - size // 2
    y, x = (tf.range(tf.shape(images)[axis]) for axis in (1, 2))
    in_rows = (y >= first[..., 0]) & (y < first[..., 0] + size)
    in_columns = (x >= first[..., 1]) & (x < first[..., 1] + size)
    hidden = in_rows[:, :, tf.newaxis, tf.newaxis] & in_columns[:, tf.newaxis, :, tf.newaxis]
    return tf.where(hidden, fill, images)
