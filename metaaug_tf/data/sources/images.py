"""Bringing images of any source to one size and one number of channels."""

import tensorflow as tf

from metaaug_tf.errors import UserError

MEMORY_BOUND = 8 * 2**30  # bytes of decoded images; all sets are held in memory


def fit_image(image: tf.Tensor, size: int, channels: int) -> tf.Tensor:
    """Bring one image, or a batch of one size, to the wanted size and channels.

    Args:
        image: uint8 [..., H, W, C], C = 1 or 3.
        size: height and width of the result in pixels, 0 for those of `image`. Where it makes the image
            smaller, values are averaged by area and rounded to nearest; else they are interpolated
            bilinearly. What isn't square is squeezed.
        channels: 1 or 3; grey is 0.299 red + 0.587 green + 0.114 blue, rounded.

    Returns:
        uint8 [..., size, size, channels].
    """
    image = tf.convert_to_tensor(image)
    if size:
        height, width = tf.shape(image)[-3], tf.shape(image)[-2]
        image = tf.cond(
            tf.logical_and(tf.equal(height, size), tf.equal(width, size)),
            lambda: image,
            lambda: _resize(image, size, tf.logical_or(height > size, width > size)),
        )
    if channels == 1 and image.shape[-1] == 3:
        weights = tf.constant([[0.299], [0.587], [0.114]])
        return tf.cast(tf.round(tf.linalg.matmul(tf.cast(image, tf.float32), weights)), tf.uint8)
    if channels == 3 and image.shape[-1] == 1:
        return tf.repeat(image, 3, axis=-1)
    return image


def check_memory(count: int, height: int, width: int, channels: int) -> None:
    """Refuse images that would not fit into memory, before any of them is read.

    Raises:
        UserError: `count` images of this size take more than MEMORY_BOUND bytes.
    """
    needed = count * height * width * channels
    if needed > MEMORY_BOUND:
        raise UserError(
            f"{count} images of {height} x {width} x {channels} take {needed / 2**30:.0f} GiB of memory, "
            f"{MEMORY_BOUND / 2**30:.0f} GiB are allowed: choose a smaller --config.image_size or, of a TFDS "
            "dataset, a part of it such as --config.split='train[:10%]'."
        )


def _resize(image: tf.Tensor, size: int, down: tf.Tensor) -> tf.Tensor:
    """Resize uint8 [..., H, W, C] to `size` by area where `down`, else bilinearly; rounded to nearest."""
    resized = tf.cond(
        down,
        lambda: tf.image.resize(image, (size, size), method="area"),
        lambda: tf.image.resize(image, (size, size), method="bilinear"),
    )
    return tf.cast(tf.round(resized), tf.uint8)
