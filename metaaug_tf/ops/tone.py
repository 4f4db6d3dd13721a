"""Operations that map every grey level to another one: Posterize, Solarize, AutoContrast, Equalize."""

import tensorflow as tf

from metaaug_tf.ops.arithmetic import clipped_to_uint8, rounded
from metaaug_tf.ops.layout import as_rows, channel_extrema, channel_histograms, look_up


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
    scale, offset = _stretch(*(tf.cast(extremum, tf.float64) for extremum in channel_extrema(image)))
    return clipped_to_uint8(rounded(tf.cast(image, tf.float64) * scale) + offset)


def _stretch(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale and offset that map low to 0 and high to 255, [C] float64 as both; 1 and 0 where they are the same."""
    flat, one = high <= low, tf.ones_like(low)
    scale = tf.where(flat, one, 255.0 / tf.where(flat, one, high - low))
    return scale, tf.where(flat, tf.zeros_like(low), -low * scale)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Flattens each channel's histogram (PIL.ImageOps.equalize).

    Args:
        image: [H, W, C] uint8.

    Returns:
        [H, W, C] uint8.
    """
    histogram = channel_histograms(image)
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    # All pixels but those of the highest level that comes up, in 255 steps.
    step = tf.reduce_max(tf.where(histogram > 0, below, 0), axis=1, keepdims=True) // 255
    table = tf.cond(
        # The branch also makes XLA compute the table once, not an entry for every pixel.
        tf.reduce_any(step > 0),
        lambda: _equalization_table(below, step),
        lambda: tf.zeros_like(below) + tf.range(256),
    )
    return look_up(table, image)


def _equalization_table(below: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The [C, 256] int32 look-up table: (below + step // 2) // step, at most 255; where step is 0, as it was.

    below [C, 256] int32 is how many pixels lie below each level, step [C, 1] int32 how many make one grey level.
    """
    # Integers below 2**53 divide in float64 to the same whole part, and four at a time.
    quotient = tf.cast(below + step // 2, tf.float64) / tf.cast(tf.maximum(step, 1), tf.float64)
    table = tf.cast(tf.minimum(quotient, 255.0), tf.int32)
    return tf.where(step > 0, table, tf.range(256))
