"""How an image lies in memory: rows of W * C values, which XLA vectorises, instead of a trailing axis of 3."""

import tensorflow as tf


def static_channels(image: tf.Tensor) -> int:
    """The number of channels C of a [H, W, C] image, known when the graph is made."""
    return image.shape[-1]


def as_rows(image: tf.Tensor) -> tf.Tensor:
    """[H, W, C] to [H, W * C]; free under XLA."""
    return tf.reshape(image, [tf.shape(image)[0], -1])


def channel_histograms(image: tf.Tensor) -> tf.Tensor:
    """How often each level comes up in each channel of [H, W, C] uint8: [C, 256] int32."""
    channels = static_channels(image)
    index = tf.reshape(tf.cast(image, tf.int32) + 256 * tf.range(channels), [-1])
    return tf.reshape(tf.math.unsorted_segment_sum(tf.ones_like(index), index, 256 * channels), [-1, 256])


def look_up(table: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """The entry of each value of [H, W, C] uint8 in its channel's row of a [C, 256] int32 table: [H, W, C] uint8."""
    width, channels = tf.shape(image)[1], static_channels(image)
    # In rows, and from an int32 table, the gather is vectorised.
    row_start = tf.reshape(tf.zeros([width, 1], tf.int32) + 256 * tf.range(channels), [-1])
    entries = tf.gather(tf.reshape(table, [-1]), tf.cast(as_rows(image), tf.int32) + row_start)
    return tf.reshape(tf.cast(entries, tf.uint8), tf.shape(image))


def channel_extrema(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Lowest and highest value of each channel of [H, W, C] uint8: two [C] int32 tensors."""
    rows = as_rows(image)
    low, high = tf.reduce_min(rows, axis=0), tf.reduce_max(rows, axis=0)
    per_pixel = [-1, static_channels(image)]
    return (
        tf.reduce_min(tf.cast(tf.reshape(low, per_pixel), tf.int32), axis=0),
        tf.reduce_max(tf.cast(tf.reshape(high, per_pixel), tf.int32), axis=0),
    )


def luma(red: tf.Tensor, green: tf.Tensor, blue: tf.Tensor) -> tf.Tensor:
    """ITU-R 601 luma in 16-bit fixed point (Pillow's convert("L")): int32, 0 to 255, of uint8 of one shape."""
    red, green, blue = (tf.cast(channel, tf.int32) for channel in (red, green, blue))
    return tf.bitwise.right_shift(19595 * red + 38470 * green + 7471 * blue + 0x8000, 16)
