"""Nearest-neighbour affine operations in Pillow's 16.16 fixed point: Rotate, ShearX, ShearY, TranslateX, TranslateY."""

import math

import tensorflow as tf

from metaaug_tf.ops.arithmetic import round_15_digits, rounded
from metaaug_tf.ops.layout import as_rows, static_channels


def rotate(image: tf.Tensor, degrees: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Turns an image counter-clockwise about its centre (PIL.Image.Image.rotate).

    Args:
        image: [H, W, C] uint8.
        degrees: scalar float64, between -90 and 90 exclusive.
        fill: scalar uint8, for what comes from outside.

    Returns:
        [H, W, C] uint8.
    """
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float64))
    radians = -((degrees % 360.0) * (math.pi / 180.0))
    cosine, sine = round_15_digits(tf.cos(radians)), round_15_digits(tf.sin(radians))
    x, y = width / 2.0, height / 2.0
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
    width, channels = tf.shape(image)[1], static_channels(image)
    shift = channels * _whole_pixels(pixels, width)
    source = tf.range(width * channels) + shift
    moved = tf.where(_within(source, width * channels), tf.roll(as_rows(image), -shift, axis=1), fill)
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
    rows, height = as_rows(image), tf.shape(image)[0]
    source = tf.range(height) + _whole_pixels(pixels, height)
    inside = _within(source, height)
    moved = tf.where(inside[:, tf.newaxis], tf.gather(rows, tf.where(inside, source, 0)), fill)
    return tf.reshape(moved, tf.shape(image))


def _affine(image: tf.Tensor, matrix: tuple[tf.Tensor, ...], fill: tf.Tensor) -> tf.Tensor:
    """Output (x, y) is input (a x + b y + c, d x + e y + f), both at pixel centres, for matrix = (a, b, c, d, e, f)."""
    a, b, c, d, e, f = matrix
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    y, x = tf.range(height)[:, tf.newaxis], tf.range(width)
    source_x = _whole_part(_fixed(c + a * 0.5 + b * 0.5) + _fixed(a) * x + _fixed(b) * y)
    source_y = _whole_part(_fixed(f + d * 0.5 + e * 0.5) + _fixed(d) * x + _fixed(e) * y)
    inside = _within(source_x, width) & _within(source_y, height)
    pixels = tf.reshape(image, [height * width, static_channels(image)])
    moved = tf.gather(pixels, tf.where(inside, source_y * width + source_x, 0))
    return tf.where(inside[..., tf.newaxis], moved, fill)


def _fixed(value: tf.Tensor) -> tf.Tensor:
    """16.16 fixed point, halves rounded up: int32 from float64."""
    return tf.cast(tf.floor(value * 65536.0 + 0.5), tf.int32)


def _whole_part(fixed: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.right_shift(fixed, 16)


def _whole_pixels(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Pixels rounded, halves up, and kept within [-size, size]: int32."""
    return tf.clip_by_value(tf.cast(tf.floor(pixels + 0.5), tf.int32), -size, size)


def _within(position: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    return (position >= 0) & (position < size)
