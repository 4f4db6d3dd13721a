"""Exponential moving average of the task network's weights: kept during training, used afterwards.

Keras's optimizer keeps the average. It is what is validated at each epoch's end, evaluated and exported.
BatchNorm's moving statistics are those of the trained weights, not of the average.
"""

import keras

from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.settings import OptimizerSettings


class AveragingSGD(keras.optimizers.SGD):
    """SGD that can average the variables it trains; only `use_averages` puts the averages in their place.

    Keras would overwrite the weights at the end of every fit, so that training could not be resumed; it would also
    pass all variables of the model, the policy network's too, of which this optimizer has no average.
    """

    def finalize_variable_values(self, var_list):
        """Does nothing: fit calls it at its end."""

    def use_averages(self) -> None:
        """Assigns the averages to the trained variables, if any are kept; calling it again changes nothing."""
        super().finalize_variable_values(self._trainable_variables)


class ValidateAverages(keras.callbacks.Callback):
    """Replaces the weights by their averages while fit validates, and restores them afterwards."""

    def on_test_begin(self, logs=None):
        """Saves the weights and uses the averages."""
        self._weights = [variable.numpy() for variable in self.model.task.trainable_variables]
        use_averages(self.model)

    def on_test_end(self, logs=None):
        """Restores the weights."""
        for variable, value in zip(self.model.task.trainable_variables, self._weights, strict=True):
            variable.assign(value)


def averaging_callbacks(settings: OptimizerSettings) -> list[keras.callbacks.Callback]:
    """The callbacks with which fit validates the averages; none where `settings.ema_momentum` is 0."""
    return [ValidateAverages()] if settings.ema_momentum else []


def use_averages(model: MetaAugment) -> None:
    """Assigns the averaged weights to the task network, if its optimizer keeps any; repeating it changes nothing."""
    if isinstance(model.optimizer, AveragingSGD):
        model.optimizer.use_averages()
