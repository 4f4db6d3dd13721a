"""Small training datasets, and their batches as arrays."""

import numpy as np
import tensorflow as tf

import metaaug_tf as ma


def examples(count, seed=0, size=8):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ma.Examples(images, np.arange(count, dtype=np.int32))  # the label tells which example it is


def batches(dataset):
    return [tf.nest.map_structure(lambda t: t.numpy(), batch) for batch in dataset]


def same(one, other):
    return all((a == b).all() for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True))


def make(sampler, seed=3, policy="metaaugment", **kwargs):
    augmentation = ma.Augmentation(policy=policy, padding=1, cutout=2)
    sizes = {"batch_size": 4, "validation_batch_size": 3}
    return ma.training_dataset(
        examples(18), examples(7, 1), sampler, seed=seed, augmentation=augmentation, **sizes, **kwargs
    )


def one_pair_only(first, second):
    table = np.zeros((14, 14), np.float32)
    table[first, second] = 1.0
    return table
