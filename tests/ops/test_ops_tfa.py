"""Cross-check against tensorflow-addons: where it agrees with Pillow so do we; where it differs we follow Pillow.

The tests of the differences say what tensorflow-addons does instead, so that they show a change on either side.
"""

import numpy as np
import pytest
import tensorflow as tf
from _tfa_reference import load_tfa_image
from ops_images import KINDS, make_image

from metaaug_tf.ops import enhance, geometry, tone

tfa_image = load_tfa_image()
pytestmark = pytest.mark.skipif(tfa_image is None, reason="tensorflow-addons is not installed (addons extra)")

SHAPES = [(32, 32, 3), (33, 20, 3), (64, 48, 1)]
FILL = 7


def double(value):
    return tf.constant(value, tf.float64)


def ours(function, image, amount):
    return function(image, double(amount), tf.constant(FILL, tf.uint8)).numpy()


def sampled(image, source_y, source_x):
    """The pixels at integer coordinates [H, W], fill where they lie outside."""
    height, width, _ = image.shape
    inside = (source_y >= 0) & (source_y < height) & (source_x >= 0) & (source_x < width)
    pixels = image[np.clip(source_y, 0, height - 1), np.clip(source_x, 0, width - 1)]
    return np.where(inside[..., None], pixels, FILL)


def round_half_away(values):
    return (np.sign(values) * np.floor(np.abs(values) + 0.5)).astype(int)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_equalize_agrees(kind, shape):
    image = make_image(kind, shape)
    np.testing.assert_array_equal(tone.equalize(image), tfa_image.equalize(image))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("degrees", [-30.0, -17.0, -3.3, 0.0, 10.0, 28.9])
def test_rotate_agrees_but_for_pixels_on_a_boundary(degrees, shape):
    """16.16 fixed point puts a source coordinate up to 2**-9 aside; nothing else may differ."""
    image = make_image("random", shape)
    theirs = tfa_image.rotate(image, np.deg2rad(degrees), fill_value=float(FILL)).numpy()
    differs = (ours(geometry.rotate, image, degrees) != theirs).any(-1)
    y, x = (grid - (size - 1) / 2 for grid, size in zip(np.mgrid[: shape[0], : shape[1]], shape[:2], strict=True))
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    to_boundary = np.inf
    for source, size in [(cosine * x - sine * y, shape[1]), (sine * x + cosine * y, shape[0])]:
        source = source + size / 2
        to_boundary = np.minimum(to_boundary, np.abs(source - np.round(source)))
    assert (to_boundary[differs] < 2.0**-9).all()
    assert differs.mean() < 0.01


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shear", [-0.3, -0.1, 0.033, 0.25, 0.3])
def test_shear_takes_pixel_centres_where_tfa_takes_corners(shear, shape):
    """Pillow: source x = floor(x + 1/2 + shear (y + 1/2)). tfa: round(x + shear y)."""
    image = make_image("random", shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    shift_x, shift_y = (np.floor(0.5 + shear * (grid + 0.5)).astype(int) for grid in (y, x))
    np.testing.assert_array_equal(ours(geometry.shear_x, image, shear), sampled(image, y, x + shift_x))
    np.testing.assert_array_equal(ours(geometry.shear_y, image, shear), sampled(image, y + shift_y, x))
    if shape[-1] == 3:  # tfa's shear takes 3 channels only
        across, down = x.astype(np.float32), y.astype(np.float32)
        corner_x, corner_y = (
            round_half_away(across + np.float32(shear) * down),
            round_half_away(down + np.float32(shear) * across),
        )
        np.testing.assert_array_equal(tfa_image.shear_x(image, shear, FILL), sampled(image, y, corner_x))
        np.testing.assert_array_equal(tfa_image.shear_y(image, shear, FILL), sampled(image, corner_y, x))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pixels", [-3.0, -2.4, 0.0, 1.6, 3.0, 40.0])
def test_translate_agrees(pixels, shape):
    image = make_image("random", shape)
    for function, direction in [(geometry.translate_x, [-pixels, 0.0]), (geometry.translate_y, [0.0, -pixels])]:
        theirs = tfa_image.translate(image, direction, fill_value=float(FILL))
        np.testing.assert_array_equal(ours(function, image, pixels), theirs)


def test_translate_rounds_halves_up_where_tfa_rounds_them_away_from_zero():
    image = make_image("random", (16, 16, 3))
    result = ours(geometry.translate_x, image, -2.5)
    np.testing.assert_array_equal(result, ours(geometry.translate_x, image, -2.0))
    theirs = tfa_image.translate(image, [2.5, 0.0], fill_value=float(FILL)).numpy()
    assert (theirs[:, 3:] == result[:, 3:]).all() and (theirs[:, 2] == FILL).all() and (result[:, 2] != FILL).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_sharpness_rounds_the_smoothed_value_where_tfa_truncates_it(shape):
    image = make_image("random", shape)
    wide = image.astype(int)
    total = 4 * wide[1:-1, 1:-1]
    for down in range(3):
        for right in range(3):
            total = total + wide[down : down + shape[0] - 2, right : right + shape[1] - 2]
    smooth = enhance.sharpness(image, double(0.0)).numpy()
    np.testing.assert_array_equal(smooth[1:-1, 1:-1], np.round(total / 13))
    truncated = tfa_image.sharpness(image, 0.0).numpy()
    # Their float sum of a multiple of 13 may come out just below it.
    assert np.isin(truncated[1:-1, 1:-1] - total // 13, [0, -1]).all()
    np.testing.assert_array_equal(enhance.sharpness(image, double(1.0)), tfa_image.sharpness(image, 1.0))
    difference = enhance.sharpness(image, double(1.9)).numpy().astype(int) - tfa_image.sharpness(image, 1.9).numpy()
    assert 0 < np.abs(difference).max() <= 2
