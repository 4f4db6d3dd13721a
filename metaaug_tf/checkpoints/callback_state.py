"""The state of Keras callbacks that must continue where they were, and which callbacks can't.

A callback of your own that holds state needs `get_state() -> dict of JSON values` and `set_state(dict)`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from metaaug_tf.errors import UserError

_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("cooldown_counter", "wait", "best"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving"),
}
_REJECTED = {
    keras.callbacks.BackupAndRestore: "it loses the policy optimizer; Checkpoints takes its place",
    keras.callbacks.SwapEMAWeights: "it swaps the weights around each epoch's end",
}


def check_resumable(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Rejects callbacks that would not continue as if training had never been interrupted.

    Raises:
        UserError: names the callback and says why.
    """
    for callback in callbacks:
        for kind, reason in _REJECTED.items():
            if isinstance(callback, kind):
                raise UserError(f"the callback {type(callback).__name__} can't be used in a run that resumes: {reason}")
        if isinstance(callback, keras.callbacks.CSVLogger) and not callback.append:
            raise UserError("the callback CSVLogger would empty its file when the run resumes; give it append=True")
        if isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_freq != "epoch":
            raise UserError(
                "the callback ModelCheckpoint with a save_freq in steps counts them from 0 when the run resumes; use "
                "save_freq='epoch'"
            )


def has_state(callback: keras.callbacks.Callback) -> bool:
    """Whether the callback has a state to keep."""
    return hasattr(callback, "get_state") or _attributes_of(callback) is not None


def capture_callbacks(callbacks: Sequence) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Returns the state of callbacks that have one, in order.

    Returns:
        (one dict of JSON values per callback, arrays by name).
    """
    states: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for index, callback in enumerate(callbacks):
        names = _attributes_of(callback)
        state = callback.get_state() if names is None else {name: getattr(callback, name) for name in names}
        weights = state.pop("best_weights", None)  # of EarlyStopping: a list of arrays
        if weights is not None:
            state["weights_kept"] = len(weights)
            arrays |= {_array_name(index, i): np.asarray(weight) for i, weight in enumerate(weights)}
        states.append({"kind": type(callback).__name__, "state": state})
    return states, arrays


def restore_callbacks(callbacks: Sequence, states: Sequence[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> None:
    """Gives callbacks the state that `capture_callbacks` found in callbacks of the same kinds.

    Nothing else of a Keras callback is set, whatever the states hold: not the path that ModelCheckpoint writes to.

    Raises:
        UserError: there were others, or their state is not what such callbacks have; no callback is changed then.
    """
    try:
        before = [str(state["kind"]) for state in states]
        values = [_with_weights(index, state["state"], arrays) for index, state in enumerate(states)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the checkpoint's state of callbacks can't be used: {error!r}") from error
    now = [type(callback).__name__ for callback in callbacks]
    if before != now:
        raise UserError(
            f"the run was started with the callbacks {', '.join(before) or 'none'} (of those that hold state), now "
            f"there are {', '.join(now) or 'none'}; give the same ones in the same order"
        )
    for callback, state in zip(callbacks, values, strict=True):
        names = _attributes_of(callback)
        if names is not None and {*names, "best_weights"} != {*state, "best_weights"}:  # which may be None
            raise UserError(f"the checkpoint holds {sorted(state)} of {type(callback).__name__}, not {sorted(names)}")
    for callback, state in zip(callbacks, values, strict=True):
        if _attributes_of(callback) is None:
            callback.set_state(state)
        else:
            vars(callback).update(state)


def _with_weights(index: int, state: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Puts the arrays that capture_callbacks stored apart back into a callback's state."""
    state = dict(state)
    count = state.pop("weights_kept", None)
    if count is not None:
        state["best_weights"] = [arrays[_array_name(index, i)] for i in range(count)]
    return state


def _attributes_of(callback) -> tuple[str, ...] | None:
    return next((names for kind, names in _ATTRIBUTES.items() if isinstance(callback, kind)), None)


def _array_name(callback: int, weight: int) -> str:
    return f"callbacks/{callback}/{weight:05d}"
