"""JPEG images that stay in their files: order, crops, splits by index; on a TFDS dataset made here."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from streamed_photos import CLASSES, TEST, TRAIN, epoch, numbers

import metaaug_tf as ma
from metaaug_tf.data.streamed_examples import middle_crop, random_resized_crop


def test_sets_are_cut_by_index_without_overlap(load):
    data = load()
    assert (len(data.train), len(data.validation), len(data.test)) == (TRAIN - 8, 8, TEST)
    assert len(data.train.files) == 3
    parts = [numbers(part.head(TRAIN).images) for part in (data.train, data.validation)]
    assert sorted(np.concatenate(parts)) == list(range(TRAIN))
    images, labels = next(iter(ma.evaluation_dataset(data.test)))
    assert sorted(numbers(images)) == list(range(100, 100 + TEST))
    np.testing.assert_array_equal(numbers(images) % CLASSES, labels)
    assert images.shape[1:] == data.test.image_shape and len(data.class_names) == CLASSES


def test_train_examples_and_a_single_split(load):
    assert len(load(train_examples=5).train) == 5
    data = load(split="train", test_fraction=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 8, 10)


def test_an_epoch_goes_through_the_files_once_in_an_order_of_its_own(load):
    data = load()
    dataset, first = epoch(data, 0)
    assert int(dataset.cardinality()) == len(first) == len(data.train) // 8
    orders = [
        np.concatenate([numbers(images) for images, _ in batches])
        for _, batches in ((None, first), epoch(data, 0), epoch(data, 1), epoch(data, 0, seed=4))
    ]
    assert len(set(orders[0])) == len(orders[0])
    np.testing.assert_array_equal(orders[0], orders[1])
    for other in orders[2:]:
        assert (orders[0] != other).mean() > 0.5
    for images, labels in first:
        np.testing.assert_array_equal(numbers(images) % CLASSES, labels)


def jpeg(pixels):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=95)
    return target.getvalue()


def ramp(height=64, width=96):
    """Red rises to the right and green downwards, slowly, so that a crop tells where it was taken."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 2, y * 2, np.zeros_like(x)], axis=-1).astype(np.uint8)


def test_crops_have_the_areas_and_shapes_that_inception_draws():
    encoded = tf.constant(jpeg(ramp()))
    crop = tf.function(lambda seed: random_resized_crop(encoded, 8, seed))
    places = []
    for number in range(300):
        red, green = np.moveaxis(crop(tf.constant([7, number], tf.int64)).numpy()[..., :2].astype(float), -1, 0)
        # The outer pixels' centres are 1/16 of the crop inside; the ramp has 2 levels per pixel.
        width, height = ((np.median(c[..., -1]) - np.median(c[..., 0])) / 2 * 8 / 7 for c in (red, green.T))
        places.append((width * height / (64 * 96), width / height))
    area, aspect = np.array(places).T
    assert 0.06 < area.min() < 0.15 and 0.85 < area.max() < 1.05
    assert 0.65 < aspect.min() < 0.85 and 1.2 < aspect.max() < 1.5
    np.testing.assert_array_equal(crop(tf.constant([7, 1], tf.int64)), crop(tf.constant([7, 1], tf.int64)))


def test_a_crop_is_the_part_of_the_decoded_image():
    """The fused decoding against decoding everything, at the window that the seed gives."""
    encoded, seed = tf.constant(jpeg(ramp())), tf.constant([1, 2], tf.int64)
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        [64, 96, 3],
        [[[0.0, 0.0, 1.0, 1.0]]],
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
    )
    whole = tf.slice(tf.io.decode_jpeg(encoded), begin, extent)
    wanted = tf.image.resize(whole, (8, 8)).numpy()
    assert np.abs(random_resized_crop(encoded, 8, seed).numpy() - wanted).max() <= 3  # at the window's edges


def test_the_middle_crop_is_seven_eighths_of_the_shorter_side():
    found = middle_crop(tf.constant(jpeg(ramp())), 56).numpy()  # 56 = 7/8 of 64, so nothing is resized
    wanted = ramp()[4:60, 20:76]
    assert np.abs(found.astype(int) - wanted).max() <= 6  # JPEG


def test_repeated_images_have_crops_of_their_own(load):
    data = load()
    _, batches = epoch(data, 0, batch_size=4, transforms_per_sample=2)
    images, labels = batches[0]
    assert images.shape == (8, 16, 16, 3)
    np.testing.assert_array_equal(labels[:4], labels[4:])
    np.testing.assert_array_equal(numbers(images[:4]), numbers(images[4:]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "PngPhotos"}, "aren't stored as JPEG"),
        ({"channels": 1}, "channels=3"),
        ({"image_size": 0}, "image_size above 0"),
        ({"validation_examples": 50}, "50 of 50 images can't be held out"),
        ({"validation_examples": 0}, "0 of 50 images can't be held out"),
        ({"train_per_class": 5}, "train_per_class=5 needs all images in memory"),
        ({"long_tail": 10.0}, "long_tail=10.0 needs all images in memory"),
        ({"split": "test"}, "only train, validation"),
    ],
)
def test_what_can_not_be_streamed(load, changes, message):
    with pytest.raises(ma.UserError, match=message):
        load(**changes)
