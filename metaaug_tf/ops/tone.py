"""Operations that map every grey level to another one: Posterize, Solarize, AutoContrast, Equalize."""

import tensorflow as tf

from metaaug_tf.ops.arithmetic import rounded
from metaaug_tf.ops.layout import as_rows, channel_extrema, channel_histograms, level_index, per_row


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
    low, high = (tf.cast(extremum, tf.float64) for extremum in channel_extrema(image))
    zero, one = tf.zeros_like(low), tf.ones_like(low)
    flat = high <= low
    scale = tf.where(flat, one, 255.0 / tf.where(flat, one, high - low))
    offset = tf.where(flat, zero, -low * scale)
    values = tf.cast(as_rows(image), tf.float64)
    stretched = rounded(values * per_row(scale, image)) + per_row(offset, image)
    return tf.reshape(tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8), tf.shape(image))


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
    table = tf.cond(
        # The branch also makes XLA compute the table once, and not an entry anew for every pixel.
        tf.reduce_any(step > 0),
        lambda: _equalization_table(histogram, step),
        lambda: tf.cast(tf.zeros_like(histogram) + levels, tf.uint8),
    )
    return tf.gather(tf.reshape(table, [-1]), level_index(image))


def _equalization_table(histogram: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The [C, 256] uint8 look-up table of a [C, 256] int32 histogram.

    step [C, 1] is how many pixels make one grey level; where it is 0 the channel stays as it is.
    """
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    return tf.cast(tf.where(step > 0, table, tf.range(256)), tf.uint8)
