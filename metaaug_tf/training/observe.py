"""The weights that the learned policy gives to newly augmented images: what the report is made of."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from metaaug_tf.augmentation.augment import augment
from metaaug_tf.data.examples import LabelledImages
from metaaug_tf.files import written_aside
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.policy.network import weigh
from metaaug_tf.settings import Augmentation

# Its draws are none of training's: no run has that many epochs.
OBSERVATION_EPOCH = 2**30
_BATCH = 256
# Of larger images every second, third ... pixel is kept: enough for a gallery, and a file of some megabytes.
SHOWN_SIDE = 112


def observe_policy(
    model: MetaAugment,
    examples: LabelledImages,
    augmentation: Augmentation,
    seed: int,
    count: int = 2048,
) -> dict[str, np.ndarray]:
    """Augments `count` images with pairs drawn uniformly and weighs them with the policy network.

    Args:
        model: trained; its features are taken in evaluation mode.
        examples: training images, taken in turn, so that all classes are present.
        augmentation: the run's; its policy is replaced by uniform.
        seed: the run's.
        count: number of augmented images.

    Returns:
        images uint8 [count, h, w, C] (of large ones every n-th pixel), pairs int32 [count, 2], magnitudes float32
        [count, 2], weights float32 [count] (raw; 1 where there is no policy network), labels int32 [count].
    """
    shown = examples.in_memory(count)
    uniform = dataclasses.replace(augmentation, policy="uniform")
    chosen = np.random.Generator(np.random.PCG64(seed)).permutation(len(shown))[np.arange(count) % len(shown)]
    features_of = tf.function(model.features, jit_compile=model.jit_compile, autograph=False)
    parts = []
    for start in range(0, count, _BATCH):
        indices = chosen[start : start + _BATCH]
        # The position stands for the index, so that an image that is repeated gets other draws.
        images, pairs, magnitudes = augment(
            tf.constant(shown.images[indices]),
            tf.range(start, start + len(indices), dtype=tf.int64),
            seed,
            OBSERVATION_EPOCH,
            model.sampler.probabilities.value,
            uniform,
        )
        weights = np.ones(len(indices), np.float32)
        if model.policy_network is not None:
            weights = weigh(model.policy_network, features_of, images, pairs, magnitudes)
        parts.append(
            [np.asarray(part) for part in (thumbnails(images), pairs, magnitudes, weights, shown.labels[indices])]
        )
    names = ("images", "pairs", "magnitudes", "weights", "labels")
    return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))


def thumbnails(images: tf.Tensor) -> tf.Tensor:
    """Images [B, H, W, C] with every n-th pixel, n the smallest for which no side is above SHOWN_SIDE."""
    step = -(-max(images.shape[1:3]) // SHOWN_SIDE)
    return images[:, ::step, ::step]


def write_observations(path: Path, observations: dict[str, np.ndarray]) -> None:
    """Writes the arrays as a compressed .npz without pickled objects, whole or not at all."""
    with written_aside(path) as aside:
        np.savez_compressed(aside, allow_pickle=False, **observations)
