"""What compile() lets one choose for the method: settings, and the names of gradients and weightings.

Free of TensorFlow, so that the command line checks a setting against these rows without loading it. A new choice is
its function and one row here.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metaaug_tf.errors import UserError

# Name -> "module:function". How the meta-gradient is taken (method.md, steps 3 and 4): meta.gradient.GradientMethod.
METHODS = {
    "exact": "metaaug_tf.meta.gradient:exact",
    "finite_difference": "metaaug_tf.meta.gradient:finite_difference",
    "last_block": "metaaug_tf.meta.gradient:last_block",
}
# What becomes of the learned weights in the real update (method.md, step 5): meta.weights.Weighting.
WEIGHTINGS = {
    "learned": "metaaug_tf.meta.weights:learned",
    "equal": "metaaug_tf.meta.weights:equal",
    "shuffled": "metaaug_tf.meta.weights:shuffled",
}


def chosen_function(setting: str, rows: Mapping[str, str], name: str) -> Any:
    """Imports and returns the function that a row names.

    Args:
        setting: what is chosen, for the message.
        rows: METHODS or WEIGHTINGS.
        name: a key of the rows.

    Raises:
        UserError: there is no such row.
    """
    _check_choice(setting, rows, name)
    module, function = rows[name].split(":")
    return getattr(importlib.import_module(module), function)


def _check_choice(setting: str, rows: Mapping[str, str], name: str) -> None:
    if name not in rows:
        raise UserError(f"{setting} must be one of {', '.join(rows)}, got {name!r}")


@dataclass(frozen=True)
class MetaSettings:
    """compile()'s settings of the method; the file of a saved model holds them by these names.

    Attributes:
        meta_gradient: how the meta-gradient is taken, a name in METHODS.
        meta_every: the policy is updated in every meta_every-th step; its weights count in every step.
        policy_warmup_steps: number of first steps that leave the policy as it is, and cost as little as plain ones:
            what the features of an untrained network tell of an image would only mislead it.
        normalise_weights: weights sum to 1 over the batch; otherwise they are divided by the batch size.
        weighting: what becomes of the learned weights in the task's update, a name in WEIGHTINGS.
        inner_learning_rate: alpha of the virtual update; None: the task optimizer's present rate.
        jit_compile: compile the step with XLA (on one replica); "auto" does where there is a GPU. On a CPU
            TensorFlow's own convolutions are quicker than XLA's (docs/meta-gradient.md).

    Raises:
        UserError: an unknown name, or a number of steps out of its range.
    """

    meta_gradient: str = "exact"
    meta_every: int = 1
    policy_warmup_steps: int = 0
    normalise_weights: bool = True
    weighting: str = "learned"
    inner_learning_rate: float | None = None
    jit_compile: bool | str = "auto"

    def __post_init__(self) -> None:
        """Checks the names and the numbers of steps."""
        _check_choice("meta_gradient", METHODS, self.meta_gradient)
        _check_choice("weighting", WEIGHTINGS, self.weighting)
        for name, least in (("meta_every", 1), ("policy_warmup_steps", 0)):
            if (value := getattr(self, name)) < least:
                raise UserError(f"{name} must be a number of steps, at least {least}, got {value}")
