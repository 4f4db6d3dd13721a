"""Exports the learned augmentation of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from metaaug_tf.export.savedmodel import DEFAULT_SIGNATURE, Signature, write_version
from metaaug_tf.ops import OPERATIONS, apply_pairs
from metaaug_tf.policy.learned_augment import LearnedAugment


def export_augment(augment: LearnedAugment, folder: Path, image_size: Sequence[int], dataset: str) -> Path:
    """Exports the drawing and applying of transformations as a SavedModel; returns the version's folder.

    Signature serving_default: `images` uint8 [B, H, W, C] of any size and `seed`, a scalar int64 in [0, 2**60)
    -> `images` uint8 [B, H, W, C] augmented, `pairs` int32 [B, 2] and `magnitudes` float32 [B, 2] as drawn: a pure
    function of seed and position, the same as LearnedAugment's. The operations are compiled by XLA, once per image
    size; TensorFlow Serving needs --xla_cpu_compilation_enabled for that.

    Args:
        augment: without a task.
        folder: holds one subfolder per version.
        image_size: (H, W, C) of the run's images.
        dataset: what it was learned on, for assets/metadata.json.
    """

    def apply(images, seed):
        pairs, magnitudes = augment.draw(tf.shape(images)[0], seed)
        return {
            "images": apply_pairs(images, pairs, magnitudes, augment.fill),
            "pairs": pairs,
            "magnitudes": magnitudes,
        }

    images = tf.TensorSpec((None, None, None, image_size[-1]), tf.uint8, name="images")
    seed = tf.TensorSpec((), tf.int64, name="seed")
    example = {"images": np.zeros((1, *image_size), np.uint8), "seed": np.int64(0)}
    signatures = [Signature(DEFAULT_SIGNATURE, apply, [images, seed], example)]
    metadata = {
        "dataset": dataset,
        "operations": list(OPERATIONS),
        "image_size": list(image_size),
        "fill": augment.fill,
    }
    return write_version(folder, [augment], signatures, metadata)
