"""Training sets changed for comparisons and experiments, and weights set aside in the task's update."""

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from data_settings import SETTINGS

import metaaug_tf as ma
from metaaug_tf.data.sources import glyphs, load_dataset
from metaaug_tf.meta.choices import WEIGHTINGS
from metaaug_tf.meta.weights import find_weighting

SMALL = SETTINGS | {"train_per_class": 4, "validation_per_class": 1, "test_per_class": 2}


def test_some_families_have_the_same_drawings_as_among_all():
    few, every = (glyphs.draw_glyphs(3, "test", 2, families) for families in (("hue", "shape"), glyphs.FAMILIES))
    kept = np.isin(np.array(glyphs.glyph_families())[every.labels], ("hue", "shape"))
    np.testing.assert_array_equal(few.images, every.images[kept])
    data = load_dataset(SMALL | {"families": "angle"}, None)
    assert data.class_names == tuple(f"angle-{k}" for k in range(glyphs.ANGLE_CLASSES))
    assert set(data.families) == {"angle"} and set(data.train.labels) == set(range(glyphs.ANGLE_CLASSES))
    with pytest.raises(ma.UserError, match="some of shape,hue,angle"):
        load_dataset(SMALL | {"families": "hue,colour"}, None)


def test_training_on_the_validation_images_too():
    plain, more = (load_dataset(SMALL | {"train_on_validation": both}, None) for both in (False, True))
    assert len(more.train) == len(plain.train) + len(plain.validation)
    found = {image.tobytes() for image in more.train.images}
    assert found == {image.tobytes() for image in np.concatenate([plain.train.images, plain.validation.images])}
    np.testing.assert_array_equal(more.validation.images, plain.validation.images)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_weightings(jit_compile):
    weights = tf.constant([0.1, 0.2, 0.3, 0.4])
    results = {
        name: [tf.function(find_weighting(name), jit_compile=jit_compile)(weights, step).numpy() for step in range(8)]
        for name in WEIGHTINGS
    }
    np.testing.assert_array_equal(results["learned"][0], weights)
    np.testing.assert_allclose(results["equal"][3], 0.25, rtol=1e-6)
    for row in results["shuffled"]:
        np.testing.assert_array_equal(np.sort(row), weights)
    assert len({tuple(row) for row in results["shuffled"]}) > 3  # another order in other steps


def test_equal_weighting_trains_the_task_as_without_a_policy():
    trained = []
    for changes in ({"policy_network": None}, {"weighting": "equal"}):
        policy = {key: changes.pop(key) for key in ("policy_network",) if key in changes}
        model = ma.MetaAugment(helpers.tiny_task(), **policy)
        model.compile(keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", jit_compile=False, **changes)
        model.train_step(helpers.random_batch())
        trained.append(helpers.values_of(model.task.trainable_variables))
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    with pytest.raises(ma.UserError, match="learned, equal, shuffled"):
        model.compile(loss="sparse_categorical_crossentropy", weighting="none")
