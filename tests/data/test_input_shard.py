"""Every number of workers and replicas gives the same global batches; each worker makes its own part only."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from pipelines import batches, examples, same

import metaaug_tf as ma
from metaaug_tf.data.input_shard import InputShard, check_divisible

PLAIN = ma.Augmentation(padding=0, flip=False, policy="none")  # quick: draws, but changes no pixel
FULL = ma.Augmentation(padding=1, cutout=2)


class Cluster:
    """Stands for a strategy: gives what its workers would make, one dataset each."""

    def __init__(self, workers, local):
        self.workers, self.num_replicas_in_sync = workers, workers * local

    def distribute_datasets_from_function(self, make):
        contexts = [tf.distribute.InputContext(self.workers, i, self.num_replicas_in_sync) for i in range(self.workers)]
        return SimpleNamespace(of_workers=[make(context) for context in contexts])


def make(strategy, augmentation=PLAIN, first_step=0):
    return ma.training_dataset(
        examples(19), examples(13, 1), ma.PairSampler(), seed=3, batch_size=8, validation_batch_size=4,
        first_step=first_step, augmentation=augmentation, strategy=strategy,
    )  # fmt: skip


def parts_of_workers(strategy, **how):
    return [batches(dataset) for dataset in make(strategy, **how).of_workers]


def joined(parts, local):
    """What the replicas get together in each step: the parts of a step, in the order of the replicas."""
    steps = len(parts[0]) // local
    assert all(len(of_worker) == steps * local for of_worker in parts)
    return [
        tf.nest.map_structure(
            lambda *columns: np.concatenate(columns),
            *[part for of_worker in parts for part in of_worker[step * local : (step + 1) * local]],
        )
        for step in range(steps)
    ]


@pytest.fixture(scope="module")
def of_one_device():
    return batches(make(None))


@pytest.mark.parametrize(("workers", "local"), [(1, 4), (2, 1), (2, 2), (4, 1)])
def test_parts_joined_are_the_batches_of_one_device(of_one_device, workers, local):
    parts = parts_of_workers(Cluster(workers, local))
    assert same(of_one_device, joined(parts, local))
    seen = np.concatenate([labels for of_worker in parts for _, labels in of_worker])
    assert len(seen) == len(set(seen)) == 16, "no example is seen twice"
    size = 8 // (workers * local)
    for inputs, labels in parts[0]:  # and a worker loads and augments no other part
        assert len(inputs["images"]) == len(labels) == size and len(inputs["validation_images"]) == size // 2


@pytest.mark.long
def test_augmented_parts_joined_are_the_batches_of_one_device():
    whole = batches(make(None, augmentation=FULL))
    assert same(whole, joined(parts_of_workers(Cluster(2, 2), augmentation=FULL), 2))


def test_an_epoch_goes_on_at_a_step_on_any_number_of_workers(of_one_device):
    assert same(of_one_device[1:], joined(parts_of_workers(Cluster(2, 2), first_step=1), 2))


@pytest.mark.long
def test_an_image_several_times_in_a_batch_stays_with_its_replica():
    def drawn(parts):
        """(example, pair, magnitudes) of each image, in an order of its own."""
        return sorted(
            (int(label), tuple(pair), tuple(magnitudes))
            for inputs, labels in parts
            for label, pair, magnitudes in zip(labels, inputs["pairs"], inputs["magnitudes"], strict=True)
        )

    thrice = dataclasses.replace(PLAIN, policy="randaugment", transforms_per_sample=3)
    of_workers = parts_of_workers(Cluster(2, 2), augmentation=thrice)
    assert all(len(labels) == 2 * 3 for parts in of_workers for _, labels in parts)
    assert drawn([part for parts in of_workers for part in parts]) == drawn(batches(make(None, augmentation=thrice)))


def test_keras_takes_the_number_of_steps_not_of_parts():
    assert int(make(Cluster(1, 4))._cardinality) == 2


def test_parts_of_a_batch_are_equal_and_in_order():
    parts = InputShard(replicas=4, first=2, local=2).parts((tf.range(8), tf.range(4) * 10))
    assert [[column.numpy().tolist() for column in part] for part in parts] == [[[4, 5], [20]], [[6, 7], [30]]]


def test_batches_that_can_not_be_divided_are_refused_with_sizes_that_can():
    check_divisible({"batch_size": 8}, 4)
    with pytest.raises(
        ma.UserError,
        match="batch_size must be .* 4 devices, got 10; use 8 or 12\n.*validation_batch_size .* got 3; use 4",
    ):
        check_divisible({"batch_size": 10, "validation_batch_size": 3}, 4)


def test_a_validation_set_smaller_than_its_batch_is_refused_where_its_size_does_not_do():
    sets = examples(16), examples(13, 1), ma.PairSampler()
    with pytest.raises(ma.UserError, match="validation_batch_size .*2 devices, got 13; use 12 or 14"):
        ma.training_dataset(*sets, batch_size=8, validation_batch_size=64, strategy=Cluster(2, 1))
