"""All that a step reads and writes of a MetaAugment model, as named arrays, and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.workers.collectives import Collectives

METRICS, MEMORY = "metrics", "memory"


def capture_variables(model: MetaAugment, collectives: Collectives | None = None) -> dict[str, np.ndarray]:
    """Copies the networks' variables, seeds of Dropout, sampler, both optimizers and metrics.

    Args:
        model: compiled, so that both optimizers are built.
        collectives: of the workers of the model's strategy, which is the default; all have to call this.

    Returns:
        Arrays by the name GROUP/INDEX; an index because Keras's own names depend on what was built before. Each of
        several replicas sums up metrics for itself, so their arrays hold all replicas' values along a first axis.
    """
    collectives = collectives or Collectives.of(model.distribute_strategy)
    return {
        name: collectives.gather(np.stack([part.numpy() for part in parts])) if parts else variable.numpy().copy()
        for name, variable, parts in _with_parts(model)
    }


def memory_arrays(model: MetaAugment) -> dict[str, np.ndarray]:
    """Returns the part of `capture_variables` that is remembered of the training images; needs no other worker."""
    named = _named_variables(model)
    return {name: variable.numpy() for name, variable in named.items() if name.startswith(f"{MEMORY}/")}


def restore_variables(
    model: MetaAugment, arrays: Mapping[str, np.ndarray], with_metrics: bool, collectives: Collectives | None = None
) -> None:
    """Sets the variables to what `capture_variables` returned for a model of the same structure.

    Args:
        model: compiled.
        arrays: by name.
        with_metrics: also the metrics of the epoch under way; needs `model.build_metrics` first.
        collectives: of the workers of the model's strategy, which is the default; each sets its own variables.

    Raises:
        UserError: a variable is missing or has another shape or dtype; nothing is changed then.
    """
    collectives = collectives or Collectives.of(model.distribute_strategy)
    check_variables(model, arrays, with_metrics)
    for name, variable, parts in _with_parts(model, with_metrics):
        array = arrays[name].view(_numpy_dtype(variable))
        if not parts:
            variable.assign(array)
        for replica, part in enumerate(parts, start=collectives.index * len(parts)):
            part.assign(array[replica])


def check_variables(model: MetaAugment, arrays: Mapping[str, np.ndarray], with_metrics: bool = False) -> None:
    """Rejects arrays that are not those of a model of the same structure.

    Raises:
        UserError: names the first variable that is missing or has another shape or dtype, or an array left over.
    """
    replicas = model.distribute_strategy.num_replicas_in_sync
    names = set()
    for name, variable, parts in _with_parts(model, with_metrics):
        names.add(name)
        shape = (replicas, *variable.shape) if parts else tuple(variable.shape)
        if name not in arrays or not _fits(arrays[name], shape, variable):
            found = f"shape {arrays[name].shape} of {arrays[name].dtype}" if name in arrays else "nothing"
            raise UserError(
                f"the checkpoint is of another model or optimizer: for {name} ({variable.path}) of shape "
                f"{shape} of {variable.dtype} it holds {found}"
            )
    groups = {name.split("/")[0] for name in names}
    if more := sorted(name for name in arrays if name.split("/")[0] in groups and name not in names):
        raise UserError(f"the checkpoint is of another model or optimizer: it also holds {more[0]}")


def _fits(array: np.ndarray, shape: tuple[int, ...], variable: keras.Variable) -> bool:
    dtype = _numpy_dtype(variable)
    # NumPy stores types it does not know (bfloat16) as bare bytes.
    return array.shape == shape and array.dtype in (dtype, np.dtype((np.void, dtype.itemsize)))


def _numpy_dtype(variable: keras.Variable) -> np.dtype:
    return np.dtype(tf.as_dtype(variable.dtype).as_numpy_dtype)


def networks_are_finite(model: MetaAugment) -> bool:
    """Whether no weight of the networks is NaN or infinite."""
    return all(bool(tf.reduce_all(tf.math.is_finite(variable.value))) for variable in model.trainable_variables)


def _with_parts(model: MetaAugment, with_metrics: bool = True) -> Iterator[tuple[str, keras.Variable, Sequence]]:
    """Yields names, variables and, for metrics of several replicas, the variables of this worker's replicas."""
    strategy = model.distribute_strategy
    for name, variable in _named_variables(model).items():
        metric = name.split("/")[0] == METRICS
        if with_metrics or not metric:
            several = metric and strategy.num_replicas_in_sync > 1
            yield name, variable, strategy.experimental_local_results(variable.value) if several else ()


def _named_variables(model: MetaAugment) -> dict[str, keras.Variable]:
    memory = model.memory.variables if model.memory else []
    others = {id(variable): variable for variable in model.variables}  # Keras lists seeds twice
    for variable in memory:
        others.pop(id(variable))
    groups = {
        "model": others.values(),
        MEMORY: memory,  # apart: a run is evaluated and exported without it
        "optimizer": model.optimizer.variables,
        "policy_optimizer": model.policy_optimizer.variables,
        METRICS: [variable for metric in model.metrics for variable in metric.variables],
    }
    return {name: variable for group, members in groups.items() for name, variable in _indexed(group, members)}


def _indexed(group: str, variables: Iterable[keras.Variable]) -> Iterable[tuple[str, keras.Variable]]:
    return ((f"{group}/{index:05d}", variable) for index, variable in enumerate(variables))
