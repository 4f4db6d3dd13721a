"""What compile() refuses, with the reason, before anything is trained."""

from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError


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
