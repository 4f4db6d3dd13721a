"""What compile() lets one choose for the method: settings, and the names of gradients and weightings.

Free of TensorFlow, so that the command line checks a setting against these rows without loading it. A new choice is
its function and one row here.
"""

import importlib
from collections.abc import Mapping
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
    if name not in rows:
        raise UserError(f"{setting} must be one of {', '.join(rows)}, got {name!r}")
    module, function = rows[name].split(":")
    return getattr(importlib.import_module(module), function)
