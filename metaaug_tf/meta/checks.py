"""What construction, compile() and fit() reject, with the reason, before anything is trained."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.augmentation.batch import KEYS
from metaaug_tf.errors import UserError
from metaaug_tf.policy.network import PolicyNetwork
from metaaug_tf.policy.sampler import PairSampler


def check_trainable(task: keras.Model) -> None:
    """Checks that the task network has a trainable variable.

    Raises:
        UserError: it has none; says how to make layers trainable.
    """
    if not task.trainable_variables:
        raise UserError(
            f"the task model {task.name!r} has no trainable variables, so it can't learn anything; "
            "set trainable = True on the layers to train"
        )


def check_no_loss_scaling(task: keras.Model, *optimizers: keras.optimizers.Optimizer) -> None:
    """Checks that no layer computes in mixed_float16 and no optimizer scales the loss.

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


def check_one_optimizer(*optimizers: keras.optimizers.Optimizer) -> None:
    """Checks that no optimizer is made of several, which have no learning rate in common for the virtual update.

    Raises:
        UserError: one is.
    """
    if any(isinstance(optimizer, keras.optimizers.MultiOptimizer) for optimizer in optimizers):
        raise UserError(
            "an optimizer must be one for all variables, got a MultiOptimizer, which has several learning rates where "
            "the virtual update needs one; give one of its optimizers"
        )


def check_steps_per_execution(steps: Any) -> None:
    """Checks that steps_per_execution is a number.

    Raises:
        UserError: it is not, such as Keras's "auto".
    """
    if not isinstance(steps, (int, np.integer)) or steps < 1:
        raise UserError(f"steps_per_execution must be a number of steps, at least 1, got {steps!r}")


def check_created_in_scope(strategy: tf.distribute.Strategy, owners: Mapping[str, Any]) -> None:
    """Checks that variables were created in the scope of the strategy that trains them.

    Args:
        strategy: the model's.
        owners: layers and optimizers by the name that a message gives them; None has no variables.

    Raises:
        UserError: names the first owner whose variables were not.
    """
    for name, owner in owners.items():
        variables = [] if owner is None else owner.variables
        if not all(strategy.extended.variable_created_in_scope(variable.value) for variable in variables):
            raise UserError(
                f"{name} was created in another tf.distribute scope than the MetaAugment model; create both networks, "
                "the optimizers and the model, and compile it, within one `with strategy.scope():`"
            )


def check_works_on_replicas(*optimizers: keras.optimizers.Optimizer) -> None:
    """Checks that optimizers have no setting that Keras does not support on several replicas.

    Raises:
        UserError: names the setting.
    """
    for optimizer in optimizers:
        for setting in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
            if getattr(optimizer, setting, None):
                raise UserError(
                    f"{setting}={getattr(optimizer, setting)} of the optimizer {optimizer.name} does not work on "
                    "several replicas: Keras applies it in a branch that can't reach the other replicas; leave it out"
                )


def check_policy_network(policy_network: Any) -> None:
    """Checks that the policy network is something to call, or None.

    Raises:
        UserError: it is neither.
    """
    if policy_network is not None and not callable(policy_network):
        raise UserError(
            f"policy_network must be a Keras model or None, got {policy_network!r}; leave it out for the default"
        )


def check_same_identity_odds(policy_network: keras.Model | None, sampler: PairSampler) -> None:
    """Checks that the contrast head takes its mean over the pairs as the sampler first draws them.

    Raises:
        UserError: policy network and sampler have other identity_odds.
    """
    if not isinstance(policy_network, PolicyNetwork) or policy_network.head != "contrast":
        return  # only the contrast head takes such a mean
    if policy_network.identity_odds != sampler.identity_odds:
        raise UserError(
            f"the policy network has identity_odds={policy_network.identity_odds:g}, the sampler "
            f"{sampler.identity_odds:g}; give both the same, or leave out policy_network"
        )


def check_same_variables(task: keras.Model, compiled: Sequence[int] | None) -> None:
    """Checks that no layer was frozen or unfrozen since compile().

    Args:
        task: the task network.
        compiled: the ids of its trainable variables at compile(), or None before.

    Raises:
        UserError: the trainable variables are others now.
    """
    if compiled is not None and [id(variable) for variable in task.trainable_variables] != list(compiled):
        raise UserError(
            "layers of the task model were frozen or unfrozen after compile(), and its optimizer was built on the "
            "variables from before; call compile() again"
        )


def check_training_data(data: Any, others: Mapping[str, Any]) -> None:
    """Checks that fit's data may have come from training_dataset or training_batches.

    Args:
        data: fit's first argument.
        others: fit's further arguments by name.

    Raises:
        UserError: arrays, a tf.data.Dataset of other elements, or arguments that go with arrays.
    """
    spec = getattr(data, "element_spec", None)
    inputs = spec[0] if isinstance(spec, tuple) else spec
    known = isinstance(inputs, Mapping) and set(inputs) >= set(KEYS)
    arrays = isinstance(data, (np.ndarray, tf.Tensor, list, tuple, Mapping)) or data is None
    of_arrays = [
        name for name in ("y", "validation_split", "batch_size", "sample_weight") if others.get(name) is not None
    ]
    if of_arrays or arrays or (spec is not None and not known):
        given = f"; it does not take {', '.join(of_arrays)}" if of_arrays else ""
        raise UserError(
            f"MetaAugment.fit takes batches with drawn transformations and validation images{given}. Give it "
            "ma.training_dataset(train, validation, model.sampler) for ma.Examples, or "
            "ma.training_batches(batches, validation, model.sampler) for a tf.data.Dataset of (images, labels), which "
            "may have sample weights; split off validation images before"
        )
