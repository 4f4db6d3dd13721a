"""The table of the 14 operations, in the order of the method: adding one is a function and a row."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from metaaug_tf.ops import enhance, geometry, tone
from metaaug_tf.ops.arithmetic import rounded

MAX_MAGNITUDE = 10.0


class Operation(NamedTuple):
    """One row of the table.

    function maps (image [H, W, C] uint8, magnitude scalar float64, fill scalar uint8) to [H, W, C] uint8. The
    magnitude is in [-10, 10] where the operation is signed and in [0, 10] where it is not.
    """

    name: str
    function: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    signed: bool
    uses_magnitude: bool


def _factor(magnitude: tf.Tensor) -> tf.Tensor:
    return 1.0 + rounded(0.09 * magnitude)


def _bits(magnitude: tf.Tensor) -> tf.Tensor:
    return 8 - tf.cast(tf.round(0.4 * magnitude), tf.int32)


def _threshold(magnitude: tf.Tensor) -> tf.Tensor:
    return tf.cast(256.0 - rounded(25.6 * magnitude), tf.int32)


def _pixels(magnitude: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Pixels of a translation by magnitude / 32 of a size."""
    return magnitude / 32.0 * tf.cast(size, tf.float64)


TABLE = (
    Operation("AutoContrast", lambda image, m, fill: tone.autocontrast(image), False, False),
    Operation("Equalize", lambda image, m, fill: tone.equalize(image), False, False),
    Operation("Rotate", lambda image, m, fill: geometry.rotate(image, 3.0 * m, fill), True, True),
    Operation("Posterize", lambda image, m, fill: tone.posterize(image, _bits(m)), False, True),
    Operation("Solarize", lambda image, m, fill: tone.solarize(image, _threshold(m)), False, True),
    Operation("Color", lambda image, m, fill: enhance.color(image, _factor(m)), True, True),
    Operation("Contrast", lambda image, m, fill: enhance.contrast(image, _factor(m)), True, True),
    Operation("Brightness", lambda image, m, fill: enhance.brightness(image, _factor(m)), True, True),
    Operation("Sharpness", lambda image, m, fill: enhance.sharpness(image, _factor(m)), True, True),
    Operation("ShearX", lambda image, m, fill: geometry.shear_x(image, 0.03 * m, fill), True, True),
    Operation("ShearY", lambda image, m, fill: geometry.shear_y(image, 0.03 * m, fill), True, True),
    Operation(
        "TranslateX",
        lambda image, m, fill: geometry.translate_x(image, _pixels(m, tf.shape(image)[1]), fill),
        True,
        True,
    ),
    Operation(
        "TranslateY",
        lambda image, m, fill: geometry.translate_y(image, _pixels(m, tf.shape(image)[0]), fill),
        True,
        True,
    ),
    Operation("Identity", lambda image, m, fill: image, False, False),
)
OPERATIONS = tuple(row.name for row in TABLE)
