"""Operations that blend an image with a degenerate one: Color, Contrast, Brightness, Sharpness (PIL.ImageEnhance)."""

import tensorflow as tf

from metaaug_tf.ops.arithmetic import clipped_to_uint8, rounded
from metaaug_tf.ops.layout import as_rows, luma, static_channels


def color(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Moves an image away from (factor > 1) or towards (< 1) its grey version (PIL.ImageEnhance.Color).

    Args:
        image: [H, W, C] uint8; unchanged when C is 1.
        factor: scalar float64; 0 gives grey, 1 the image.

    Returns:
        [H, W, C] uint8.
    """
    if static_channels(image) == 1:
        return image
    channels = tf.unstack(image, axis=-1)
    # The branch makes XLA compute the grey version once, not again for each channel; at factor 1 it has no effect.
    grey = tf.cond(factor == 1.0, lambda: channels[0], lambda: tf.cast(luma(*channels), tf.uint8))
    return _blend(grey[..., tf.newaxis], image, factor)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Moves an image away from or towards its mean grey level (PIL.ImageEnhance.Contrast).

    Args:
        image: [H, W, C] uint8.
        factor: scalar float64; 0 gives a flat image, 1 the image.

    Returns:
        [H, W, C] uint8.
    """
    channels = tf.unstack(image, axis=-1)
    grey = tf.cast(channels[0], tf.int32) if len(channels) == 1 else luma(*channels)
    total = tf.reduce_sum(tf.cast(tf.reduce_sum(grey, axis=1), tf.int64))
    pixels = tf.size(grey, out_type=tf.int64)
    mean = (2 * total + pixels) // (2 * pixels)
    return _blend(mean, image, factor)


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales every value (PIL.ImageEnhance.Brightness).

    Args:
        image: [H, W, C] uint8.
        factor: scalar float64; 0 gives black, 1 the image.

    Returns:
        [H, W, C] uint8.
    """
    return _blend(tf.constant(0), image, factor)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Moves an image away from or towards its smoothed version (PIL.ImageEnhance.Sharpness).

    The smoothing is PIL.ImageFilter.SMOOTH, a 3 x 3 kernel of ones with 5 in the middle, divided by 13; the outermost
    pixels are not smoothed.

    Args:
        image: [H, W, C] uint8.
        factor: scalar float64; 0 gives the smoothed image, 1 the image.

    Returns:
        [H, W, C] uint8.
    """
    rows, channels = as_rows(image), static_channels(image)
    height, width = tf.shape(rows)[0], tf.shape(rows)[1]
    # The first and the last row stay as they are: kept out of the loop, they cost it no conditions.
    middle, x = rows[1:-1], tf.range(width)
    inside = (x >= channels) & (x < width - channels)
    middle = tf.where(inside, _blend(_smooth(rows, channels), middle, factor), middle)
    return tf.reshape(tf.concat([rows[:1], middle, rows[tf.maximum(1, height - 1) :]], axis=0), tf.shape(image))


def _smooth(rows: tf.Tensor, channels: int) -> tf.Tensor:
    """SMOOTH on [H, W * C] uint8, with zeros beside it, all rows but the outermost: [H - 2, W * C] int32, 0 to 255.

    Pillow divides the weighted sum by 13 in float32 and rounds. The sum is at most 3315 and a thirteenth of an
    integer is never within 1/26 of a half, so (sum + 6) // 13 is the same, and 5042 / 65536 is close enough to 1/13.
    """
    height, width = tf.shape(rows)[0] - 2, tf.shape(rows)[1]
    # The sum fits 16 bits, of which a vector holds twice as many as of 32.
    values = tf.cast(tf.pad(rows, [[0, 0], [channels, channels]]), tf.int16)
    total = 4 * values[1:-1, channels : channels + width]
    for down in range(3):
        for right in range(0, 3 * channels, channels):
            total += values[down : down + height, right : right + width]
    return tf.bitwise.right_shift((tf.cast(total, tf.int32) + 6) * 5042, 16)


def _blend(degenerate: tf.Tensor, image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """PIL.Image.blend: degenerate + factor * (image - degenerate) in float32, clipped, truncated to uint8."""
    start = tf.cast(degenerate, tf.float32)
    value = start + rounded(tf.cast(factor, tf.float32) * (tf.cast(image, tf.float32) - start))
    return clipped_to_uint8(value)
