"""training_batches: a tf.data.Dataset of one's own becomes training batches, by the documented draws."""

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma

PLAIN = ma.Augmentation(padding=0, flip=False)
TRAIN, VALIDATION_SET = helpers.random_examples(20, 0), helpers.random_examples(7, 1)


def pairs(examples, *more):
    return tf.data.Dataset.from_tensor_slices((examples.images, examples.labels, *more))


def table():
    sampler = ma.PairSampler()
    random = np.random.default_rng(4).uniform(size=(14, 14))
    sampler.probabilities.assign(random / random.sum())
    return sampler


def test_images_are_those_of_the_documented_draws_in_each_epoch():
    sampler = table()
    dataset = ma.training_batches(pairs(TRAIN).batch(8), VALIDATION_SET, sampler, seed=3, augmentation=PLAIN)
    for epoch in range(2):
        read = list(dataset.as_numpy_iterator())
        assert [len(labels) for _, labels in read] == [8, 8, 4]
        drawn, magnitudes = ma.draw_transformations(
            "metaaugment", sampler.probabilities.value, 3, epoch, np.arange(len(TRAIN))
        )
        for name, expected in (
            ("pairs", drawn),
            ("magnitudes", magnitudes),
            ("images", ma.apply_pairs(TRAIN.images, drawn, magnitudes, 128)),
        ):
            np.testing.assert_array_equal(np.concatenate([inputs[name] for inputs, _ in read]), expected)
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in read]), TRAIN.labels)
        sampler.end_epoch()
    assert int(dataset.cardinality()) == 3


def test_validation_sets_come_in_the_order_of_training_dataset_from_memory_or_a_dataset():
    sampler = table()
    known = ma.training_dataset(TRAIN, VALIDATION_SET, sampler, batch_size=5, validation_batch_size=3, seed=3)
    wanted = [inputs["validation_labels"] for inputs, _ in known.as_numpy_iterator()]
    for validation_set in (VALIDATION_SET, pairs(VALIDATION_SET).batch(2)):
        batches = ma.training_batches(pairs(TRAIN).batch(5), validation_set, sampler, validation_batch_size=3, seed=3)
        for (inputs, _), labels in zip(batches.as_numpy_iterator(), wanted, strict=True):
            np.testing.assert_array_equal(inputs["validation_labels"], labels)
            assert inputs["validation_images"].shape == (3, 8, 8, 3)


def test_sample_weights_pass_and_shuffling_is_the_users():
    weights = np.arange(20, dtype=np.float32)
    own = pairs(TRAIN, weights).shuffle(20, seed=1).batch(10)
    read = list(ma.training_batches(own, VALIDATION_SET, table()).as_numpy_iterator())
    seen = np.concatenate([batch[2] for batch in read])
    assert sorted(seen) == list(weights) and list(seen) != list(weights)
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in read]), TRAIN.labels[seen.astype(int)])
    again = np.concatenate(
        [batch[2] for batch in ma.training_batches(own, VALIDATION_SET, table()).as_numpy_iterator()]
    )
    assert sorted(again) == list(weights)


@pytest.mark.long
def test_fit_on_one_hot_pairs_of_unknown_number_takes_a_step_for_each_batch():
    one_hot = ma.Examples(TRAIN.images, np.eye(4, dtype=np.float32)[TRAIN.labels])
    own = pairs(one_hot).filter(lambda image, label: True).batch(8)
    validation_set = ma.Examples(VALIDATION_SET.images, np.eye(4, dtype=np.float32)[VALIDATION_SET.labels])
    model = ma.MetaAugment(helpers.tiny_task(dropout=0.1))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=loss, metrics=["accuracy"], jit_compile=False)
    seeds = [variable for variable in model.task.variables if "seed" in variable.path]
    before = helpers.values_of(seeds)
    dataset = ma.training_batches(own, validation_set, model.sampler)
    assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
    history = model.fit(dataset, epochs=2, verbose=0).history
    assert int(model.optimizer.iterations.numpy()) == int(model.policy_optimizer.iterations.numpy()) == 6
    assert 0 <= history["accuracy"][1] <= 1
    # Keras counts draws in a seed's second number: six steps, as the passes of a step see the same mask.
    assert [int(seed.numpy()[1] - old[1]) for seed, old in zip(seeds, before, strict=True)] == [6, 6]
    assert int(model.sampler.counts.numpy().sum()) == 40 and np.isfinite(history["loss"]).all()
    counted = [metric.count for metric in model.metrics if metric.name in ("loss", "meta_loss", "policy_gradient_norm")]
    assert [int(count.numpy()) for count in counted] == [3, 3, 3], "the end of the data is no step"


FLOATS = ma.Examples(TRAIN.images.astype(np.float32), TRAIN.labels)
BAD = [
    (lambda: (TRAIN, VALIDATION_SET), "tf.data.Dataset.*got Examples"),
    (lambda: (pairs(TRAIN), VALIDATION_SET), r"single images.*\.batch"),
    (lambda: (pairs(FLOATS).batch(4), VALIDATION_SET), "uint8.*got float32.*Rescaling"),
    (lambda: (pairs(TRAIN).batch(4).repeat(), VALIDATION_SET), "never end"),
    (lambda: (pairs(TRAIN).batch(4).map(lambda x, y: x), VALIDATION_SET), r"must be \(images, labels\), got"),
    (lambda: (pairs(TRAIN).batch(4), pairs(VALIDATION_SET)), "validation images must be in batches"),
    (lambda: (pairs(TRAIN).batch(4), pairs(VALIDATION_SET).batch(4).take(0)), "validation set is empty"),
    (lambda: (pairs(TRAIN).batch(4), VALIDATION_SET.take(np.arange(0))), "validation set is empty"),
    (
        lambda: (pairs(TRAIN).batch(4), helpers.random_examples(7, 1, size=9)),
        "validation images must have the shape of",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message[:25] for _, message in BAD])
def test_what_is_refused(make, message):
    with pytest.raises(ma.UserError, match=message):
        ma.training_batches(*make(), table())


def test_repeated_augmentation_is_refused():
    twice = ma.Augmentation(transforms_per_sample=2)
    with pytest.raises(ma.UserError, match="training_dataset"):
        ma.training_batches(pairs(TRAIN).batch(4), VALIDATION_SET, table(), augmentation=twice)
