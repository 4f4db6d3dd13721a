"""What becomes of the learned weights in the task's update: used, or set aside for comparison."""

from collections.abc import Callable

import tensorflow as tf

from metaaug_tf.errors import UserError

_SHUFFLE_SEED = 7


def learned(weights: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The method: each sample has its own weight."""
    del step
    return weights


def equal(weights: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Every sample has the mean weight; the policy then acts through the sampler alone."""
    del step
    return tf.fill(tf.shape(weights), tf.reduce_mean(weights))


def shuffled(weights: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Each sample has the weight of another one: the same distribution of weights, without what was learned."""
    keys = tf.random.stateless_uniform(tf.shape(weights), tf.stack([_SHUFFLE_SEED, tf.cast(step, tf.int32)]))
    return tf.gather(weights, tf.argsort(keys))


WEIGHTINGS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "learned": learned,
    "equal": equal,
    "shuffled": shuffled,
}


def find_weighting(name: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The function (weights [B], step scalar int) -> weights [B] of that name.

    Raises:
        UserError: there is none.
    """
    if name not in WEIGHTINGS:
        raise UserError(f"unknown weighting {name!r}; there are: {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[name]
