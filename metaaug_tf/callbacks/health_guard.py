"""Keras callback that stops training when the loss is not finite and warns when the policy's weights collapse."""

import math
import warnings

import keras

from metaaug_tf.errors import UserError

# Below these a policy is of no use: a twentieth of the batch holds all the weight, or every raw weight is close to
# zero, where the sigmoid is flat.
_LEAST_EFFECTIVE_FRACTION, _LEAST_WEIGHT = 0.05, 1e-3


class HealthGuard(keras.callbacks.Callback):
    """Watches loss and weights of a MetaAugment model.

    Example:
        model.fit(dataset, epochs=30, callbacks=[HealthGuard()])
    """

    def get_state(self) -> dict:
        """Returns what it knows of the current epoch, JSON values."""
        return {"steps": self._steps, "share_sum": self._fraction_sum, "warned": self._warned}

    def set_state(self, state: dict) -> None:
        """Resumes in the middle of an epoch from what `get_state` returned."""
        self._steps, self._fraction_sum, self._warned = state["steps"], state["share_sum"], state["warned"]
        self._steps_before = self._steps

    def on_epoch_begin(self, epoch, logs=None):
        """Remembers the epoch for messages."""
        self._epoch, self._steps, self._fraction_sum, self._warned = epoch, 0, 0.0, False
        self._steps_before = 0

    def on_train_batch_end(self, batch, logs=None):
        """Stops at the step whose loss is not finite; warns, once an epoch, at one whose weights have collapsed.

        Raises:
            UserError: the loss is not finite; the message names the step. Earlier checkpoints are untouched.
        """
        logs = logs or {}
        steps = self._steps_before + batch + 1
        if not math.isfinite(float(logs.get("loss", 0.0))):
            raise UserError(
                f"the loss is not finite at step {steps} of epoch {self._epoch + 1}; everything up to the last "
                "checkpoint is kept. Lower --config.learning_rate, or look for broken images or labels in the data."
            )
        if "effective_sample_size" in logs:
            self._watch_weights(steps, float(logs["effective_sample_size"]), float(logs["weight_max"]))
        self._steps = steps

    def _watch_weights(self, steps: int, mean_fraction: float, largest: float) -> None:
        # Logs hold the epoch's mean so far; two of them give the mean over the steps in between.
        fraction = (mean_fraction * steps - self._fraction_sum) / (steps - self._steps)
        self._fraction_sum = mean_fraction * steps
        if not self._warned and (fraction < _LEAST_EFFECTIVE_FRACTION or largest < _LEAST_WEIGHT):
            self._warned = True
            warnings.warn(
                f"the policy's weights have collapsed at step {steps} of epoch {self._epoch + 1} (effective fraction "
                f"of the batch {fraction:.3f}, largest weight {largest:.2g}); try a lower policy_learning_rate",
                stacklevel=2,
            )
