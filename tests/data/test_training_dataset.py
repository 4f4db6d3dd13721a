"""The training pipeline is a pure function of (seed, epoch, position)."""

import numpy as np
import pytest
import tensorflow as tf
from pipelines import batches, examples, make, one_pair_only, same

import metaaug_tf as ma


def test_epoch_goes_through_the_training_set_once_without_the_short_last_batch():
    sampler = ma.PairSampler()
    dataset = make(sampler)
    assert int(dataset.cardinality()) == 4
    labels = np.concatenate([labels for _, labels in batches(dataset)])
    assert len(labels) == 16 and len(set(labels)) == 16


def test_same_seed_and_epoch_give_the_same_batches_and_others_do_not():
    sampler = ma.PairSampler()
    first = batches(make(sampler))
    assert same(first, batches(make(sampler)))
    assert not same(first, batches(make(sampler, seed=4)))
    sampler.epoch.assign(1)
    assert not same(first, batches(make(sampler)))
    sampler.epoch.assign(0)
    assert same(first, batches(make(sampler)))


def test_draws_depend_on_the_example_not_on_its_place():
    sampler = ma.PairSampler()
    small, large = make(sampler), make(sampler)
    drawn = {}
    for inputs, labels in batches(small):
        drawn.update(
            {
                int(label): (pair, m)
                for label, pair, m in zip(labels, inputs["pairs"], inputs["magnitudes"], strict=True)
            }
        )
    augmentation = ma.Augmentation(padding=1, cutout=2)
    large = ma.training_dataset(
        examples(18), examples(7, 1), sampler, seed=3, batch_size=9, validation_batch_size=2, augmentation=augmentation
    )
    for inputs, labels in batches(large):
        for label, pair, magnitudes in zip(labels, inputs["pairs"], inputs["magnitudes"], strict=True):
            if int(label) in drawn:
                np.testing.assert_array_equal(pair, drawn[int(label)][0])
                np.testing.assert_array_equal(magnitudes, drawn[int(label)][1])


def test_first_step_skips_batches_and_changes_nothing_else():
    sampler = ma.PairSampler()
    assert same(batches(make(sampler))[2:], batches(make(sampler, first_step=2)))


def test_the_table_is_read_when_an_epoch_starts():
    sampler = ma.PairSampler()
    dataset = make(sampler)
    sampler.probabilities.assign(one_pair_only(13, 12))
    for inputs, _ in batches(dataset):
        np.testing.assert_array_equal(inputs["pairs"], [[13, 12]] * 4)


def test_validation_stream_goes_through_all_images_before_it_repeats():
    inputs = [inputs for inputs, _ in batches(make(ma.PairSampler()))]
    stream = np.concatenate([batch["validation_labels"] for batch in inputs])
    assert set(stream[:7]) == set(range(7))
    originals = examples(7, 1).images
    for batch in inputs:
        np.testing.assert_array_equal(batch["validation_images"], originals[batch["validation_labels"]])


def test_policy_none_without_crop_and_flip_leaves_images_alone():
    augmentation = ma.Augmentation(policy="none", padding=0, flip=False)
    dataset = ma.training_dataset(
        examples(18), examples(7, 1), ma.PairSampler(), batch_size=4, augmentation=augmentation
    )
    for inputs, labels in batches(dataset):
        np.testing.assert_array_equal(inputs["images"], examples(18).images[labels])


def test_batch_larger_than_the_training_set_and_empty_validation_are_refused():
    sampler = ma.PairSampler()
    with pytest.raises(ma.UserError, match="at most the 18 training images, got 128"):
        ma.training_dataset(examples(18), examples(7), sampler)
    with pytest.raises(ma.UserError, match="validation set is empty"):
        ma.training_dataset(examples(18), examples(0), sampler, batch_size=4)


@pytest.mark.parametrize("given", [lambda labels: labels[:, None].astype(np.uint8), np.ndarray.tolist, tf.constant])
def test_labels_in_a_column_a_list_or_a_tensor_are_taken(given):
    images, labels = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6, dtype=np.int32)
    examples = ma.Examples(images.tolist() if isinstance(given(labels), list) else images, given(labels))
    assert examples.labels.shape == (6,) and examples.labels.tolist() == labels.tolist()
    examples = ma.Examples(images, given(labels))
    assert next(iter(ma.training_dataset(examples, examples, ma.PairSampler(), batch_size=6)))[1].shape == (6,)


def test_one_hot_labels_and_uneven_lists_are_rejected_with_the_remedy():
    examples = ma.Examples(np.zeros((6, 8, 8, 3), np.uint8), np.eye(6, dtype=np.float32))
    with pytest.raises(ma.UserError, match="one-hot labels take np.argmax"):
        ma.training_dataset(examples, examples, ma.PairSampler(), batch_size=6)
    with pytest.raises(ma.UserError, match="images must all have the same shape"):
        ma.Examples([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)], [0, 1])
