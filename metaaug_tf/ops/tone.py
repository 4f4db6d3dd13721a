"""Operations that map every grey level to another one: Posterize, Solarize, AutoContrast, Equalize."""

from collections.abc import Callable

import tensorflow as tf

from metaaug_tf.ops.arithmetic import rounded
from metaaug_tf.ops.layout import as_rows, channel_extrema, channel_histograms, level_index, static_channels


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the leading bits of every value (PIL.ImageOps.posterize).

    Args:
        image: [H, W, C] uint8.
        bits: scalar int32, the number of bits kept, 0 to 8.

    Returns:
        [H, W, C] uint8.
    """
    mask = 256 - tf.bitwise.left_shift(1, 8 - bits)
    return tf.bitwise.bitwise_and(image, tf.cast(mask, tf.uint8))


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Inverts the values at and above a threshold (PIL.ImageOps.solarize).

    Args:
        image: [H, W, C] uint8.
        threshold: scalar int32, 0 (all inverted) to 256 (none).

    Returns:
        [H, W, C] uint8.
    """
    rows = as_rows(image)
    inverted = tf.where(tf.cast(rows, tf.int32) < threshold, rows, 255 - rows)
    return tf.reshape(inverted, tf.shape(image))


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel's range to 0..255 (PIL.ImageOps.autocontrast); a flat channel stays.

    Args:
        image: [H, W, C] uint8.

    Returns:
        [H, W, C] uint8.
    """
    low, high = (extremum[:, tf.newaxis] for extremum in channel_extrema(image))
    return _look_up(image, high > low, lambda: _stretch_table(low, high))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Flattens each channel's histogram (PIL.ImageOps.equalize).

    Args:
        image: [H, W, C] uint8.

    Returns:
        [H, W, C] uint8.
    """
    histogram = channel_histograms(image)
    levels = tf.range(256)
    highest = tf.reduce_max(tf.where(histogram > 0, levels, 0), axis=1, keepdims=True)
    at_highest = tf.reduce_sum(tf.where(levels == highest, histogram, 0), axis=1, keepdims=True)
    step = (tf.reduce_sum(histogram, axis=1, keepdims=True) - at_highest) // 255
    return _look_up(image, step > 0, lambda: _equalization_table(histogram, tf.maximum(step, 1)))


def _stretch_table(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """[C, 256] int32 table that maps low to 0 and high to 255, in doubles as Pillow; low and high are [C, 1] int32."""
    low, high = tf.cast(low, tf.float64), tf.cast(high, tf.float64)
    scale = 255.0 / tf.maximum(high - low, 1.0)
    stretched = rounded(tf.range(256, dtype=tf.float64) * scale) + -low * scale
    return tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.int32)


def _equalization_table(histogram: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """[C, 256] int32 table of a [C, 256] int32 histogram; step [C, 1] is how many pixels make one grey level."""
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    return tf.minimum((below + step // 2) // step, 255)


def _look_up(image: tf.Tensor, changes: tf.Tensor, make_table: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Maps each channel through its row of a [C, 256] table where `changes` [C, 1] holds, and leaves the others.

    The branch is also what makes XLA compute the table once: otherwise it computes an entry anew for every pixel.
    """
    levels = tf.tile(tf.range(256)[tf.newaxis], [static_channels(image), 1])
    table = tf.cond(
        tf.reduce_any(changes),
        lambda: tf.cast(tf.where(changes, make_table(), levels), tf.uint8),
        lambda: tf.cast(levels, tf.uint8),
    )
    return tf.gather(tf.reshape(table, [-1]), level_index(image))
