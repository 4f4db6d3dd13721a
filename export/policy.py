"""Exports the policy network of a run."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from metaaug_tf.augmentation.transform import EMBEDDING_SIZE, transformation_embedding
from metaaug_tf.export.savedmodel import DEFAULT_SIGNATURE, Signature, also_empty, write_version
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.ops import OPERATIONS


def export_policy(model: MetaAugment, folder: Path, dataset: str) -> Path:
    """Exports the policy network with the task's features inside as a SavedModel; returns the version's folder.

    Signatures, both with the output `weights` float32 [B], the raw weights in (0, 1):
        serving_default: `images` uint8 [B, H, W, C] as augmented, `pairs` int32 [B, 2] and `magnitudes` float32 [B, 2]
            that made them.
        from_features: `features` float32 [B, F], as the task's signature of that name gives them, and `embedding`
            float32 [B, 28], as transformation_embedding does.

    Args:
        model: trained, with a policy network.
        folder: holds one subfolder per version.
        dataset: what it was trained on, for assets/metadata.json.
    """
    image_size = model.task.input_shape[1:]

    def weigh_features(features, embedding):
        return {"weights": model.policy_network(features, embedding)}

    @also_empty
    def weigh(images, pairs, magnitudes):
        return weigh_features(model.features(images, training=False), transformation_embedding(pairs, magnitudes))

    images = tf.TensorSpec((None, *image_size), tf.uint8, name="images")
    pairs = tf.TensorSpec((None, 2), tf.int32, name="pairs")
    magnitudes = tf.TensorSpec((None, 2), tf.float32, name="magnitudes")
    features = tf.TensorSpec((None, model.feature_width), tf.float32, name="features")
    embedding = tf.TensorSpec((None, EMBEDDING_SIZE), tf.float32, name="embedding")
    signatures = [
        Signature(DEFAULT_SIGNATURE, weigh, [images, pairs, magnitudes], _zeros(images, pairs, magnitudes)),
        Signature("from_features", weigh_features, [features, embedding], _zeros(features, embedding)),
    ]
    metadata = {"dataset": dataset, "operations": list(OPERATIONS), "image_size": list(image_size)}
    return write_version(folder, [model.task, model.policy_network], signatures, metadata)


def _zeros(*specs: tf.TensorSpec) -> dict[str, np.ndarray]:
    """A batch of one example for each spec, by name."""
    return {spec.name: np.zeros([1, *spec.shape[1:]], spec.dtype.as_numpy_dtype) for spec in specs}
