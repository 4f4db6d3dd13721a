"""Bad input: ValueError eagerly, InvalidArgumentError in a graph; the message tells what was given and allowed."""

import numpy as np
import pytest
import tensorflow as tf

from metaaug_tf.augmentation.standard import crop_and_flip, cutout
from metaaug_tf.ops import apply_operation, apply_pairs

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
PAIRS = np.zeros((2, 2), np.int32)
MAGNITUDES = np.zeros((2, 2), np.float32)


@pytest.mark.parametrize(
    "images, message",
    [
        (IMAGES.astype(np.float32), "must be uint8, got float32"),
        (IMAGES[0], r"expected \[B, H, W, C\], got shape \(8, 8, 3\)"),
        (IMAGES[..., :2], r"1 or 3 channels.*\(2, 8, 8, 2\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"1 or 3 channels.*\(2, 8, 8, 4\)"),
        (np.zeros((2, 0, 8, 3), np.uint8), r"at least 1 x 1.*\(2, 0, 8, 3\)"),
    ],
)
def test_images(images, message):
    with pytest.raises(ValueError, match=message):
        apply_pairs(images, PAIRS, MAGNITUDES)
    with pytest.raises(ValueError, match=message):
        crop_and_flip(images, 0, 0, [0, 1], padding=4, flip=True, fill=0)
    with pytest.raises(ValueError, match=message):
        cutout(images, 0, 0, [0, 1], size=4, fill=0)


@pytest.mark.parametrize("bad", [10.5, -11.0, np.nan, np.inf])
def test_magnitudes(bad):
    with pytest.raises(ValueError, match=rf"\[-10, 10\], got {bad}"):
        apply_operation("Rotate", IMAGES[0], bad)
    with pytest.raises(ValueError, match=rf"\[-10, 10\], got \[\[.*{str(bad)[:3]}"):
        apply_pairs(IMAGES, PAIRS, np.full((2, 2), bad, np.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[-10, 10\]"):
        tf.function(apply_pairs)(tf.constant(IMAGES), tf.constant(PAIRS), tf.fill([2, 2], bad))


@pytest.mark.parametrize("bad", [-1, 14])
def test_pairs(bad):
    with pytest.raises(ValueError, match=rf"0 to 13.*{bad}"):
        apply_pairs(IMAGES, np.full((2, 2), bad), MAGNITUDES)
    with pytest.raises(tf.errors.InvalidArgumentError, match="0 to 13"):
        tf.function(apply_pairs)(tf.constant(IMAGES), tf.fill([2, 2], bad), tf.constant(MAGNITUDES))


def test_pairs_that_are_no_integers():
    with pytest.raises(ValueError, match="pairs must be integers, got float32"):
        apply_pairs(IMAGES, PAIRS.astype(np.float32), MAGNITUDES)


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3)])
def test_shapes_of_pairs_and_magnitudes(shape):
    with pytest.raises(ValueError, match=r"pairs must have shape \[2, 2\]"):
        apply_pairs(IMAGES, np.zeros(shape, np.int32), MAGNITUDES)
    with pytest.raises(ValueError, match=r"magnitudes must have shape \[2, 2\]"):
        apply_pairs(IMAGES, PAIRS, np.zeros(shape, np.float32))


def test_batches_of_two_sizes_in_a_graph():
    function = tf.function(apply_pairs).get_concrete_function(
        tf.TensorSpec([None, 8, 8, 3], tf.uint8), tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([None, 2])
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many"):
        function(tf.constant(IMAGES), tf.constant(PAIRS[:1]), tf.constant(MAGNITUDES))


def test_unknown_operation():
    with pytest.raises(ValueError, match="unknown operation 'Blur'; allowed: AutoContrast, .*Identity"):
        apply_operation("Blur", IMAGES[0], 1.0)


@pytest.mark.parametrize("fill", [-1, 256, 0.5])
def test_fill(fill):
    with pytest.raises(ValueError, match=r"0\.\.255"):
        apply_operation("Rotate", IMAGES[0], 1.0, fill)


def test_negative_padding_and_size():
    with pytest.raises(ValueError, match="padding must be 0 pixels or more, got -1"):
        crop_and_flip(IMAGES, 0, 0, [0, 1], padding=-1, flip=True, fill=0)
    with pytest.raises(ValueError, match="size must be 0 pixels or more, got -1"):
        cutout(IMAGES, 0, 0, [0, 1], size=-1, fill=0)
