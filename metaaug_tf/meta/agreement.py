"""How well the cheap meta-gradients agree with the exact one, on demand."""

from collections.abc import Mapping

import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta.gradient import METHODS


def meta_gradient_agreement(model, data) -> Mapping[str, Mapping[str, float]]:
    """Compares each method with `exact` at the model's present variables; nothing is changed.

    Costs a step of each method. As a first look at whether a cheap method will do:

        for name, row in ma.meta_gradient_agreement(model, next(iter(dataset))).items():
            print(name, row["cosine"], row["relative_error"])

    Args:
        model: a compiled MetaAugment with a policy network.
        data: one batch of its training dataset, (inputs, labels) or (inputs, labels, sample_weight).

    Returns:
        {method: {"cosine", "relative_error"}} for all methods but `exact`: of the gradients by all policy variables
        as one vector, e.g. relative_error = |g - g_exact| / |g_exact|.

    Raises:
        UserError: the model has no policy network, or is not compiled.
    """
    if model.policy_network is None or not model.compiled:
        raise UserError("meta_gradient_agreement needs a compiled MetaAugment with a policy network")
    flat = {name: _flat(_gradients(model, data, method)) for name, method in METHODS.items()}
    exact = flat.pop("exact")
    return {name: _compare(gradient, exact) for name, gradient in flat.items()}


def _gradients(model, data, method) -> list[tf.Tensor]:
    """The model's policy gradients; under a strategy every replica takes the same batch, so the mean is of it too."""
    strategy = model.distribute_strategy
    results = strategy.run(model.policy_gradients, args=(data, method))
    return [strategy.experimental_local_results(result)[0] for result in results]


def _flat(gradients) -> tf.Tensor:
    return tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0)


def _compare(gradient: tf.Tensor, exact: tf.Tensor) -> dict[str, float]:
    norm = tf.norm(exact)
    cosine = tf.reduce_sum(gradient * exact) / (tf.norm(gradient) * norm)
    return {"cosine": float(cosine), "relative_error": float(tf.norm(gradient - exact) / norm)}
