"""How much each image of a batch counts: from the policy's raw weights to those of an update."""

from typing import Protocol

import keras
import tensorflow as tf

from metaaug_tf.meta.choices import WEIGHTINGS, chosen_function
from metaaug_tf.meta.forward import Forward


def raw_weights(
    policy: keras.Model, forward: Forward, embedding: tf.Tensor, evidence: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the policy's raw weights r (method.md, step 2) of this replica's images.

    Args:
        policy: (features [B, F], embedding [B, 28]) -> weights [B].
        forward: the training pass that gave the features.
        embedding: float [B, 28], the transformations.
        evidence: float [B, E], or None for the transformation's part of the weights.

    Returns:
        [B] in the dtype of the losses, differentiable in the policy's variables.
    """
    given = () if evidence is None else (evidence,)
    return tf.cast(policy(forward.features, embedding, *given), forward.losses.dtype)


def normalised_weights(raw: tf.Tensor, normalise: bool = True) -> tf.Tensor:
    """Returns the weights p of the global batch (method.md, step 2).

    Args:
        raw: float [B], r_i in (0, 1).
        normalise: p_i = r_i / sum_j r_j; otherwise p_i = r_i / B.
    """
    total = tf.reduce_sum(raw) if normalise else tf.cast(tf.size(raw), raw.dtype)
    return raw / total


def policy_weights(
    policy: keras.Model,
    forward: Forward,
    embedding: tf.Tensor,
    normalise: bool,
    evidence: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns this replica's part [B] of the weights p(theta) of the global batch (method.md, step 2).

    Args:
        policy: as in `raw_weights`, like `forward` and `embedding`.
        forward: the training pass.
        embedding: float [B, 28].
        normalise: as in `normalised_weights`.
        evidence: as in `raw_weights`.
    """
    (raw,) = forward.shard.gather([raw_weights(policy, forward, embedding, evidence)])
    return forward.shard.own(normalised_weights(raw, normalise))


class Weighting(Protocol):
    """What becomes of the learned weights in the task's update."""

    def __call__(self, weights: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns float [B] that has the sum of `weights`.

        Args:
            weights: float [B], p of the global batch.
            step: int scalar, the task optimizer's iterations.
        """


def learned(weights: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The method: each image has its own weight."""
    del step
    return weights


def equal(weights: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Every image has the mean weight; the policy then acts through the sampler alone."""
    del step
    return tf.fill(tf.shape(weights), tf.reduce_mean(weights))


_SHUFFLE_SEED = 7


def shuffled(weights: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Each image has the weight of another one: the same distribution of weights, without what was learned."""
    keys = tf.random.stateless_uniform(tf.shape(weights), tf.stack([_SHUFFLE_SEED, tf.cast(step, tf.int32)]))
    return tf.gather(weights, tf.argsort(keys))


def find_weighting(name: str) -> Weighting:
    """Returns the function that WEIGHTINGS has by that name.

    Raises:
        UserError: there is none.
    """
    return chosen_function("weighting", WEIGHTINGS, name)
