"""Nearest-neighbour affine operations in Pillow's 16.16 fixed point: Rotate, ShearX, ShearY, TranslateX, TranslateY."""

import math

import tensorflow as tf

from metaaug_tf.ops.arithmetic import round_15_digits, rounded


def rotate(image: tf.Tensor, degrees: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Turns an image counter-clockwise about its centre (PIL.Image.Image.rotate).

    Args:
        image: [H, W, C] uint8.
        degrees: scalar float64, between -90 and 90 exclusive.
        fill: scalar uint8, for what comes from outside.

    Returns:
        [H, W, C] uint8.
    """
    height, width = _size(image)
    radians = -((degrees % 360.0) * (math.pi / 180.0))
    cosine, sine = round_15_digits(tf.cos(radians)), round_15_digits(tf.sin(radians))
    x, y = tf.cast(width, tf.float64) / 2.0, tf.cast(height, tf.float64) / 2.0
    shift_x = (rounded(cosine * -x) + rounded(sine * -y)) + x
    shift_y = (rounded(-sine * -x) + rounded(cosine * -y)) + y
    return _affine(image, (cosine, sine, shift_x, -sine, cosine, shift_y), fill)


def shear_x(image: tf.Tensor, shear: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Shifts each row left by shear times its height (PIL.Image.Image.transform, AFFINE, (1, shear, 0, 0, 1, 0)).

    Args:
        image: [H, W, C] uint8.
        shear: scalar float64, pixels to the side per pixel down.
        fill: scalar uint8, for what comes from outside.

    Returns:
        [H, W, C] uint8.
    """
    zero, one = tf.zeros_like(shear), tf.ones_like(shear)
    return _affine(image, (one, shear, zero, zero, one, zero), fill)


def shear_y(image: tf.Tensor, shear: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Shifts each column up by shear times its position (PIL.Image.Image.transform, AFFINE, (1, 0, 0, shear, 1, 0)).

    Args:
        image: [H, W, C] uint8.
        shear: scalar float64, pixels down per pixel to the side.
        fill: scalar uint8, for what comes from outside.

    Returns:
        [H, W, C] uint8.
    """
    zero, one = tf.zeros_like(shear), tf.ones_like(shear)
    return _affine(image, (one, zero, zero, shear, one, zero), fill)


def translate_x(image: tf.Tensor, pixels: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Shifts an image to the left (PIL.Image.Image.transform, AFFINE, (1, 0, pixels, 0, 1, 0)).

    Args:
        image: [H, W, C] uint8.
        pixels: scalar float64; halves round up.
        fill: scalar uint8, for what comes from outside.

    Returns:
        [H, W, C] uint8.
    """
    height, width = _size(image)
    channels = image.shape[-1]
    shift = _whole(pixels, width)
    rows = tf.reshape(image, [height, width * channels])
    padded = tf.pad(rows, [[0, 0], [width * channels] * 2], constant_values=fill)
    moved = tf.slice(padded, [0, (width + shift) * channels], [height, width * channels])
    return tf.reshape(moved, tf.shape(image))


def translate_y(image: tf.Tensor, pixels: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Shifts an image up (PIL.Image.Image.transform, AFFINE, (1, 0, 0, 0, 1, pixels)).

    Args:
        image: [H, W, C] uint8.
        pixels: scalar float64; halves round up.
        fill: scalar uint8, for what comes from outside.

    Returns:
        [H, W, C] uint8.
    """
    height, width = _size(image)
    channels = image.shape[-1]
    shift = _whole(pixels, height)
    rows = tf.reshape(image, [height, width * channels])
    padded = tf.pad(rows, [[height] * 2, [0, 0]], constant_values=fill)
    moved = tf.slice(padded, [height + shift, 0], [height, width * channels])
    return tf.reshape(moved, tf.shape(image))


def _affine(image: tf.Tensor, matrix: tuple[tf.Tensor, ...], fill: tf.Tensor) -> tf.Tensor:
    """Output (x, y) is input (a x + b y + c, d x + e y + f), both at pixel centres, for matrix = (a, b, c, d, e, f)."""
    a, b, c, d, e, f = matrix
    height, width = _size(image)
    y, x = tf.range(height)[:, tf.newaxis], tf.range(width)
    source_x = (_fixed(c + a * 0.5 + b * 0.5) + _fixed(a) * x + _fixed(b) * y) // 65536
    source_y = (_fixed(f + d * 0.5 + e * 0.5) + _fixed(d) * x + _fixed(e) * y) // 65536
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    index = tf.where(inside, source_y * width + source_x, 0)
    pixels = tf.gather(tf.reshape(image, [height * width, image.shape[-1]]), index)
    return tf.where(inside[..., tf.newaxis], pixels, fill)


def _fixed(value: tf.Tensor) -> tf.Tensor:
    """16.16 fixed point, halves rounded up: int32 from float64."""
    return tf.cast(tf.floor(value * 65536.0 + 0.5), tf.int32)


def _whole(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Pixels rounded, halves up, and kept within [-size, size]: int32."""
    return tf.clip_by_value(tf.cast(tf.floor(pixels + 0.5), tf.int32), -size, size)


def _size(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.shape(image)
    return shape[0], shape[1]
