"""Exponential moving average of the task network's weights: kept while training, used from then on.

Keras's optimizer keeps the average; it is validated at each epoch's end, and what is evaluated and exported.
BatchNorm's moving statistics are those of the weights that were trained, not of the average.
"""

import keras

from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.settings import OptimizerSettings


class AveragingSGD(keras.optimizers.SGD):
    """SGD that can average the variables it trains, and leaves it to `use_averages` to use the averages.

    Keras would overwrite the weights at the end of every fit, so that training could not go on from there; it also
    hands over all variables of the model, the policy network's too, of which this optimizer has no average.
    """

    def finalize_variable_values(self, var_list):
        """Nothing: fit calls it at its end."""

    def use_averages(self) -> None:
        """Gives the trained variables their averages, if any are kept; the same again changes nothing."""
        super().finalize_variable_values(self._trainable_variables)


class ValidateAverages(keras.callbacks.Callback):
    """Puts the averages in the weights' place while fit validates, and the weights back afterwards."""

    def on_test_begin(self, logs=None):
        """Keeps the weights aside."""
        self._weights = [variable.numpy() for variable in self.model.task.trainable_variables]
        use_averages(self.model)

    def on_test_end(self, logs=None):
        """Puts them back."""
        for variable, value in zip(self.model.task.trainable_variables, self._weights, strict=True):
            variable.assign(value)


def averaging_callbacks(settings: OptimizerSettings) -> list[keras.callbacks.Callback]:
    """What fit needs so that validation sees the averages: nothing where `settings.ema_momentum` is 0."""
    return [ValidateAverages()] if settings.ema_momentum else []


def use_averages(model: MetaAugment) -> None:
    """Gives the task network its averaged weights, if its optimizer keeps any; the same again changes nothing."""
    if isinstance(model.optimizer, AveragingSGD):
        model.optimizer.use_averages()
