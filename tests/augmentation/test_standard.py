"""Standard crop, flip and Cutout: what they do, told from the images, and that draws depend on (seed, epoch, index)."""

import numpy as np
import pytest
import tensorflow as tf
from ops_images import make_batch

from metaaug_tf.augmentation.standard import crop_and_flip, cutout

BATCH, HEIGHT, WIDTH = 400, 12, 9
INDICES = np.arange(BATCH)
SETTINGS = {"crop": {"padding": 2, "flip": True, "fill": 7}, "cutout": {"size": 4, "fill": 7}}
FUNCTIONS = {"crop": crop_and_flip, "cutout": cutout}


def positions():
    """Images whose first two channels tell where each pixel came from; no value is the fill value 7."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.tile(np.stack([y + 100, x + 100, 0 * x], -1).astype(np.uint8), [BATCH, 1, 1, 1])


def reference_crop(image, top, left, flip, padding, fill):
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), constant_values=fill)
    cropped = padded[top : top + HEIGHT, left : left + WIDTH]
    return cropped[:, ::-1] if flip else cropped


def test_crop_and_flip_are_some_crop_and_flip_and_all_come_up():
    results = crop_and_flip(positions(), 1, 0, INDICES, **SETTINGS["crop"]).numpy()
    image = positions()[0]
    places = [(top, left, flip) for top in range(5) for left in range(5) for flip in (False, True)]
    known = {reference_crop(image, *place, 2, 7).tobytes(): place for place in places}
    assert {known[result.tobytes()] for result in results} == set(places)
    assert 150 < sum(known[result.tobytes()][2] for result in results) < 250


def test_no_padding_and_no_flip_change_nothing():
    images = make_batch(40, (HEIGHT, WIDTH, 1))
    np.testing.assert_array_equal(crop_and_flip(images, 1, 0, INDICES[:40], padding=0, flip=False, fill=7), images)


def test_cutout_fills_a_clipped_square_centred_anywhere():
    results = cutout(positions(), 1, 0, INDICES, **SETTINGS["cutout"]).numpy()
    known = {}
    for y in range(HEIGHT):
        for x in range(WIDTH):
            image = positions()[0]
            image[max(y - 2, 0) : y + 2, max(x - 2, 0) : x + 2] = 7
            known.setdefault(image.tobytes(), []).append((y, x))
    seen = {place for result in results for place in known[result.tobytes()]}
    assert len(seen) > 0.9 * HEIGHT * WIDTH


def test_cutout_of_size_0_changes_nothing_and_a_large_one_fills_all():
    images = make_batch(40, (HEIGHT, WIDTH, 1))
    np.testing.assert_array_equal(cutout(images, 1, 0, INDICES[:40], size=0, fill=7), images)
    assert (cutout(images, 1, 0, INDICES[:40], size=60, fill=7).numpy() == 7).all()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_draws_depend_on_seed_epoch_and_index_alone(kind):
    images, function, settings = positions(), FUNCTIONS[kind], SETTINGS[kind]
    whole = function(images, 1, 0, INDICES, **settings).numpy()
    parts = [function(images[i : i + 70], 1, 0, INDICES[i : i + 70], **settings) for i in range(0, BATCH, 70)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for seed, epoch in [(2, 0), (1, 1)]:
        other = function(images, seed, epoch, INDICES, **settings).numpy()
        assert (other == whole).all((1, 2, 3)).mean() < 0.2


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("parallel_calls", [1, 8])
def test_in_a_dataset_is_as_eager(kind, parallel_calls):
    function, settings = FUNCTIONS[kind], SETTINGS[kind]
    dataset = tf.data.Dataset.from_tensor_slices((positions(), INDICES)).batch(64)
    dataset = dataset.map(
        lambda images, indices: function(images, 1, 0, indices, **settings), num_parallel_calls=parallel_calls
    )
    expected = function(positions(), 1, 0, INDICES, **settings)
    np.testing.assert_array_equal(np.concatenate(list(dataset.as_numpy_iterator())), expected)


def test_crop_and_cutout_do_not_share_random_numbers():
    crops = crop_and_flip(positions(), 1, 0, INDICES, padding=2, flip=False, fill=7).numpy()
    holes = cutout(positions(), 1, 0, INDICES, size=1, fill=7).numpy()
    top = crops[:, 4, 4, 0].astype(float)
    center = (holes[..., 0] == 7).any(2).argmax(1)
    assert abs(np.corrcoef(top, center)[0, 1]) < 5 / np.sqrt(BATCH)
