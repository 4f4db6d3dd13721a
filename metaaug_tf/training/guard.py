"""Keras callback that stops training when the loss is not finite and warns when the policy's weights collapse."""

import math
import warnings

import keras

from metaaug_tf.errors import UserError

# Below these a policy no longer tells images apart in a useful way: a twentieth of the batch holds all the weight, or
# every raw weight is next to zero, where the sigmoid is flat.
_LEAST_EFFECTIVE_SHARE, _LEAST_WEIGHT = 0.05, 1e-3


class HealthGuard(keras.callbacks.Callback):
    """Watches loss and weights of a MetaAugment model.

    Example:
        model.fit(dataset, epochs=30, callbacks=[HealthGuard()])
    """

    def on_epoch_begin(self, epoch, logs=None):
        """Remembers the epoch for messages."""
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Stops at the step whose loss is not finite.

        Raises:
            UserError: names the step; checkpoints written before it are untouched.
        """
        if not math.isfinite(float((logs or {}).get("loss", 0.0))):
            raise UserError(
                f"the loss is not finite at step {batch + 1} of epoch {self._epoch + 1}; what was saved up to the last "
                "checkpoint is kept. Lower --config.learning_rate, or look for broken images or labels in the data."
            )

    def on_epoch_end(self, epoch, logs=None):
        """Warns when the weights of this epoch say little about the images."""
        logs = logs or {}
        share, largest = logs.get("effective_sample_size", 1.0), logs.get("weight_max", 1.0)
        if share < _LEAST_EFFECTIVE_SHARE or largest < _LEAST_WEIGHT:
            warnings.warn(
                f"the policy's weights have collapsed in epoch {epoch + 1} (effective share of the batch {share:.3f}, "
                f"largest weight {largest:.2g}); try a lower policy_learning_rate",
                stacklevel=2,
            )
