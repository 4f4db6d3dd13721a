"""All that a step reads and writes of a MetaAugment model, as named arrays, and back."""

from collections.abc import Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta.model import MetaAugment

METRICS = "metrics"


def read_state(model: MetaAugment) -> dict[str, np.ndarray]:
    """Copies of the networks' variables, seeds of Dropout, sampler, both optimizers and metrics.

    Args:
        model: compiled, so that both optimizers are built.

    Returns:
        Arrays named GROUP/NUMBER; numbers because Keras's own names depend on what was built before.
    """
    return {name: np.array(variable) for name, variable in _named_variables(model).items()}


def write_state(model: MetaAugment, arrays: Mapping[str, np.ndarray], with_metrics: bool) -> None:
    """Sets the variables from what `read_state` gave for a model of the same structure.

    Args:
        model: compiled.
        arrays: by name.
        with_metrics: also those of the epoch under way; needs `model.build_metrics` first.

    Raises:
        UserError: a variable is missing or has another shape or dtype; nothing is changed then.
    """
    check_state(model, arrays, with_metrics)
    for name, variable in _chosen_variables(model, with_metrics).items():
        variable.assign(arrays[name].view(_numpy_dtype(variable)))


def check_state(model: MetaAugment, arrays: Mapping[str, np.ndarray], with_metrics: bool = False) -> None:
    """Refuses arrays that are not those of a model of the same structure.

    Raises:
        UserError: names the first variable that is missing, has another shape or dtype, or is too many.
    """
    variables = _chosen_variables(model, with_metrics)
    for name, variable in variables.items():
        if name not in arrays or not _fits(arrays[name], variable):
            found = f"shape {arrays[name].shape} of {arrays[name].dtype}" if name in arrays else "nothing"
            raise UserError(
                f"the checkpoint is of another model or optimizer: for {name} ({variable.path}) of shape "
                f"{tuple(variable.shape)} of {variable.dtype} it holds {found}"
            )
    groups = {name.split("/")[0] for name in variables}
    if more := sorted(name for name in arrays if name.split("/")[0] in groups and name not in variables):
        raise UserError(f"the checkpoint is of another model or optimizer: it also holds {more[0]}")


def _fits(array: np.ndarray, variable: keras.Variable) -> bool:
    dtype = _numpy_dtype(variable)
    # NumPy stores types it does not know (bfloat16) as bare bytes.
    return array.shape == tuple(variable.shape) and array.dtype in (dtype, np.dtype((np.void, dtype.itemsize)))


def _numpy_dtype(variable: keras.Variable) -> np.dtype:
    return np.dtype(tf.as_dtype(variable.dtype).as_numpy_dtype)


def networks_are_finite(model: MetaAugment) -> bool:
    """Whether no weight of the networks is NaN or infinite."""
    return all(bool(tf.reduce_all(tf.math.is_finite(variable.value))) for variable in model.trainable_variables)


def _named_variables(model: MetaAugment) -> dict[str, keras.Variable]:
    groups = {
        "model": {id(variable): variable for variable in model.variables}.values(),  # Keras lists seeds twice
        "optimizer": model.optimizer.variables,
        "policy_optimizer": model.policy_optimizer.variables,
        METRICS: [variable for metric in model.metrics for variable in metric.variables],
    }
    return {name: variable for group, members in groups.items() for name, variable in _numbered(group, members)}


def _chosen_variables(model: MetaAugment, with_metrics: bool) -> dict[str, keras.Variable]:
    variables = _named_variables(model)
    return {name: variable for name, variable in variables.items() if with_metrics or name.split("/")[0] != METRICS}


def _numbered(group: str, variables: Iterable[keras.Variable]) -> Iterable[tuple[str, keras.Variable]]:
    return ((f"{group}/{number:05d}", variable) for number, variable in enumerate(variables))
