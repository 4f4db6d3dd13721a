"""What compile() refuses, with the reason, before anything is trained."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.policy.network import PolicyNetwork
from metaaug_tf.policy.sampler import PairSampler

# What the inputs of a training batch hold (data/training_dataset.py).
INPUTS = frozenset({"images", "pairs", "magnitudes", "validation_images", "validation_labels"})


def refuse_frozen(task: keras.Model) -> None:
    """Refuses a task network without a trainable variable.

    Raises:
        UserError: says how to make layers trainable.
    """
    if not task.trainable_variables:
        raise UserError(
            f"the task model {task.name!r} has no trainable variables; nothing can be learned. "
            "Set trainable = True on the layers to train"
        )


def refuse_loss_scaling(task: keras.Model, *optimizers: keras.optimizers.Optimizer) -> None:
    """Refuses layers in mixed_float16 and optimizers that scale the loss.

    Raises:
        UserError: names the layers or the optimizer.
    """
    layers = [layer.name for layer in task.layers if layer.dtype_policy.name == "mixed_float16"]
    if layers:
        raise UserError(
            f"layers {', '.join(layers[:3])} have the dtype policy mixed_float16, whose loss scaling the "
            "meta-gradient does not apply, so the network would hardly learn; use mixed_bfloat16 or float32"
        )
    if any(isinstance(optimizer, keras.optimizers.LossScaleOptimizer) for optimizer in optimizers):
        raise UserError(
            "a LossScaleOptimizer divides gradients by a scale that the meta-gradient does not apply, so the network "
            "would hardly learn; give the optimizer that it wraps"
        )


def refuse_other_scope(strategy: tf.distribute.Strategy, variables: Mapping[str, Iterable[keras.Variable]]) -> None:
    """Refuses what was made outside of the scope of the strategy that trains it.

    Args:
        strategy: the model's.
        variables: by the name that a message gives their owner.

    Raises:
        UserError: names the first owner that has such variables.
    """
    for owner, members in variables.items():
        if not all(strategy.extended.variable_created_in_scope(variable.value) for variable in members):
            raise UserError(
                f"{owner} was made in another tf.distribute scope than the MetaAugment model; make both networks, the "
                "optimizers and the model, and compile it, within one `with strategy.scope():`"
            )


def refuse_hidden_branches(*optimizers: keras.optimizers.Optimizer) -> None:
    """Refuses settings of optimizers that Keras does not support on several replicas.

    Raises:
        UserError: names the setting.
    """
    for optimizer in optimizers:
        for setting in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
            if getattr(optimizer, setting, None):
                raise UserError(
                    f"{setting}={getattr(optimizer, setting)} of the optimizer {optimizer.name} does not work on "
                    "several replicas: Keras takes it in a branch that can't reach the other replicas; leave it out"
                )


def check_steps(meta_every: int, policy_warmup_steps: int) -> None:
    """Raises UserError for numbers of steps that can't be."""
    for name, value, least in (("meta_every", meta_every, 1), ("policy_warmup_steps", policy_warmup_steps, 0)):
        if value < least:
            raise UserError(f"{name} is a number of steps, at least {least}, not {value}")


def check_start(policy_network: keras.Model | None, sampler: PairSampler) -> None:
    """Raises UserError for a contrast head whose mean over the pairs is not that of the sampler's start."""
    contrast = isinstance(policy_network, PolicyNetwork) and policy_network.head == "contrast"
    if contrast and policy_network.identity_odds != sampler.identity_odds:
        raise UserError(
            f"the policy network has identity_odds={policy_network.identity_odds:g}, the sampler "
            f"{sampler.identity_odds:g}; give both the same, or leave out policy_network"
        )


def refuse_thawed(task: keras.Model, compiled: Sequence[int] | None) -> None:
    """Raises UserError where layers were frozen or set free since compile().

    Args:
        task: the task network.
        compiled: the ids of its trainable variables at compile(), or None before.
    """
    if compiled is not None and [id(variable) for variable in task.trainable_variables] != list(compiled):
        raise UserError(
            "layers of the task model were frozen or set free after compile(), and its optimizer knows the variables "
            "from before; call compile() again"
        )


def check_training_data(data: Any) -> None:
    """Refuses data for fit that can be seen not to be what training_dataset or training_batches yield.

    Raises:
        UserError: arrays, or a tf.data.Dataset of other elements.
    """
    spec = getattr(data, "element_spec", None)
    inputs = spec[0] if isinstance(spec, tuple) else spec
    known = isinstance(inputs, Mapping) and set(inputs) >= INPUTS
    if isinstance(data, (np.ndarray, tf.Tensor)) or (spec is not None and not known):
        raise UserError(
            "MetaAugment.fit takes batches with drawn transformations and validation images. Give it "
            "ma.training_dataset(train, validation, model.sampler) for ma.Examples, or "
            "ma.training_batches(batches, validation, model.sampler) for a tf.data.Dataset of (images, labels)"
        )
