"""LearnedAugment: drawn from the table of a folder, in tf.data, in models and after saving; bad folders are refused."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny_task

import metaaug_tf as ma
from metaaug_tf.policy.folder import read_network, write_policy, write_sampler

ROTATE, SOLARIZE = ma.OPERATIONS.index("Rotate"), ma.OPERATIONS.index("Solarize")


def skewed_table():
    table = np.full((14, 14), 0.2 / 196)
    table[ROTATE, SOLARIZE] += 0.8
    return table


@pytest.fixture(scope="module")
def model():
    return ma.MetaAugment(tiny_task())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("run") / "policy"
    write_sampler(path, skewed_table(), 3)
    write_policy(path, 17, model.policy_network)
    return path


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


def by_hand(folder, images, seed, epoch=0):
    """The same by the public functions, from the file's own numbers."""
    table = json.loads((folder / "sampler.json").read_text())["probabilities"]
    pairs, magnitudes = ma.draw_transformations("metaaugment", table, seed, epoch, np.arange(len(images)))
    return ma.apply_pairs(images, pairs, magnitudes, 17).numpy(), pairs, magnitudes


def test_a_seed_gives_the_documented_draws_from_the_learned_table(folder, images):
    augment = ma.LearnedAugment.load(folder)
    expected, _, _ = by_hand(folder, images, 5)
    np.testing.assert_array_equal(augment(images, seed=5), expected)
    np.testing.assert_array_equal(augment(images, seed=5, training=False), images)
    pairs, _ = augment.draw(2000, seed=6)
    share = np.mean(np.all(pairs.numpy() == [ROTATE, SOLARIZE], axis=1))
    assert abs(share - 0.8) < 4 * np.sqrt(0.8 * 0.2 / 2000)


def test_without_a_seed_each_call_draws_again_as_the_next_epoch_of_the_layers_seed(folder, images):
    augment = ma.LearnedAugment.load(folder, seed=11)
    for epoch in range(2):
        np.testing.assert_array_equal(augment(images), by_hand(folder, images, 11, epoch)[0])


def test_in_tf_data_with_seeds_and_without(folder, images):
    augment = ma.LearnedAugment.load(folder, seed=11)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(16)
    seeded = batches.enumerate().map(lambda number, batch: augment(batch, seed=number), tf.data.AUTOTUNE)
    for number, batch in enumerate(seeded):
        part = images[16 * number : 16 * (number + 1)]
        np.testing.assert_array_equal(batch, by_hand(folder, part, number)[0])
    counted = batches.map(augment)
    first, second = ([batch.numpy() for batch in counted] for _ in range(2))
    np.testing.assert_array_equal(first[0], by_hand(folder, images[:16], 11, 0)[0])
    np.testing.assert_array_equal(second[0], by_hand(folder, images[:16], 11, 3)[0])


@pytest.mark.long
@pytest.mark.parametrize("jit_compile", [False, True])
def test_inside_a_model_it_acts_in_training_alone(folder, images, jit_compile):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    augmented = ma.LearnedAugment.load(folder)(inputs)
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(augmented)))
    classifier = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile("sgd", loss, jit_compile=jit_compile)
    kernel, bias = (value.copy() for value in classifier.get_weights()[:2])
    expected = images.reshape(40, -1).astype(np.float32) / 255 @ kernel + bias
    np.testing.assert_allclose(classifier.predict(images, verbose=0), expected, atol=1e-5)
    labels = np.arange(40) % 3
    seen = by_hand(folder, images, 0, 0)[0].reshape(40, -1).astype(np.float32) / 255
    logits = seen @ kernel + bias
    logged = classifier.fit(images, labels, batch_size=40, shuffle=False, verbose=0).history["loss"][0]
    assert logged == pytest.approx(float(loss(labels, logits)), rel=1e-5)


class Subclassed(keras.Model):
    """Says nothing of training in its call."""

    def __init__(self, augment):
        super().__init__()
        self.augment = augment

    def call(self, images):
        return keras.ops.cast(self.augment(images), "float32")


def in_functional(augment):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    return keras.Model(inputs, keras.layers.Rescaling(1.0)(augment(inputs)))


def in_sequential(augment):
    return keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), augment, keras.layers.Rescaling(1.0)])


@pytest.mark.parametrize("build", [in_functional, in_sequential, Subclassed])
def test_as_part_of_a_model_images_pass_unless_training_is_asked_for(folder, images, build, tmp_path):
    augment = ma.LearnedAugment.load(folder, seed=11)
    model = build(augment)
    for found in (model(images), model(images, training=False), model.predict(images, verbose=0)):
        np.testing.assert_array_equal(found, images)
    if build is not Subclassed:
        model.export(tmp_path / "model", verbose=False)
        loaded = tf.saved_model.load(str(tmp_path / "model"))
        np.testing.assert_array_equal(loaded.serve(tf.constant(images)), images)
    expected = by_hand(folder, images, 11, 0)[0]
    np.testing.assert_array_equal(model(images, training=True), expected)
    # A direct call augments, also after calls within models, and in a model's own function.
    np.testing.assert_array_equal(augment(images), by_hand(folder, images, 11, 1)[0])
    np.testing.assert_array_equal(tf.function(augment)(tf.constant(images)), by_hand(folder, images, 11, 2)[0])


def test_with_the_task_it_returns_the_policy_networks_weights(folder, images, model):
    augment = ma.LearnedAugment.load(folder, task=model.task)
    augmented, weights = augment(images, seed=5)
    expected, pairs, magnitudes = by_hand(folder, images, 5)
    np.testing.assert_array_equal(augmented, expected)
    embedding = ma.transformation_embedding(pairs, magnitudes)
    np.testing.assert_allclose(weights, model.policy_network(model.features(expected), embedding), atol=1e-6)
    assert weights.shape == (40,) and np.ptp(weights) > 0
    np.testing.assert_array_equal(augment(images, training=False)[1], np.ones(40))


def test_a_keras_file_holds_the_table_the_settings_and_the_networks(folder, images, model, tmp_path):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    saved = keras.Model(inputs, ma.LearnedAugment.load(folder, task=model.task, seed=3)(inputs))
    saved.save(tmp_path / "augment.keras")
    loaded = keras.models.load_model(tmp_path / "augment.keras")
    for mine, theirs in zip(saved.layers[-1](images, seed=9), loaded.layers[-1](images, seed=9), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    config = json.loads(json.dumps(saved.layers[-1].get_config()))
    assert config["fill"] == 17 and config["seed"] == 3 and np.shape(config["probabilities"]) == (14, 14)


def test_a_folder_keeps_the_samplers_start(tmp_path):
    model = ma.MetaAugment(tiny_task(), sampler=ma.PairSampler(identity_odds=3.0))
    write_policy(tmp_path, 17, model.policy_network)
    assert read_network(tmp_path).identity_odds == 3.0


def test_the_fill_of_a_folder_can_be_overridden(folder, images):
    assert ma.LearnedAugment.load(folder).fill == 17
    assert ma.LearnedAugment.load(folder, fill=0).fill == 0


def edited(folder, tmp_path, name, **changes):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    value = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps({**value, **changes}))
    return tmp_path


BAD_FOLDERS = [
    ("sampler.json", {"version": 2}, "version 2; this package reads version 1"),
    ("policy.json", {"version": 2}, "version 2; this package reads version 1"),
    ("sampler.json", {"operations": ["Invert", *ma.OPERATIONS[1:]]}, "has no Invert"),
    ("sampler.json", {"operations": list(ma.OPERATIONS[::-1])}, "in this order"),
    ("sampler.json", {"probabilities": [[1.0]]}, "14 x 14"),
    ("policy.json", {"feature_width": 7}, "can't be read as the network"),
    ("policy.json", {"head": "best"}, "head must be one of contrast, additive, got 'best'"),
    ("policy.json", {"identity_odds": 0}, "identity_odds must be from 0.01 to 100"),
]


@pytest.mark.parametrize(("name", "changes", "message"), BAD_FOLDERS, ids=lambda value: str(value)[:25])
def test_folders_of_another_version_or_operation_set_are_refused(folder, tmp_path, model, name, changes, message):
    with pytest.raises(ma.UserError, match=message):
        ma.LearnedAugment.load(edited(folder, tmp_path, name, **changes), task=model.task)


def test_no_folder_no_network_and_another_task_are_refused(folder, tmp_path, model):
    with pytest.raises(ma.UserError, match="not a policy folder"):
        ma.LearnedAugment.load(tmp_path)
    write_sampler(tmp_path, skewed_table(), 0)
    with pytest.raises(ma.UserError, match="holds no policy network"):
        ma.LearnedAugment.load(tmp_path, task=model.task)
    with pytest.raises(ma.UserError, match="feature vectors of length 6"):
        ma.LearnedAugment.load(folder, task=tiny_task(size=16))


def test_images_that_are_not_uint8_are_refused(folder):
    augment = ma.LearnedAugment.load(folder)
    with pytest.raises(ValueError, match="uint8"):
        augment(np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="dtype='uint8'"):
        augment(keras.Input((8, 8, 3)))


@pytest.mark.parametrize("seed", [-1, 2**60, np.uint64(2**64 - 1), 1.5, [1, 2]])
def test_a_seed_out_of_range_is_refused_and_draws_as_no_other(folder, images, seed):
    augment = ma.LearnedAugment.load(folder)
    with pytest.raises(ValueError, match="seed must"):
        augment(images, seed=seed)
    with pytest.raises(ValueError, match="seed must"):
        ma.LearnedAugment.load(folder, seed=seed)


def test_a_seed_out_of_range_is_refused_in_a_graph(folder, images):
    augment = tf.function(ma.LearnedAugment.load(folder))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"seed must be an integer in \[0, 2\*\*60\)"):
        augment(images, seed=tf.constant(-1, tf.int64))
