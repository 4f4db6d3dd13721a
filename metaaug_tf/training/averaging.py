"""Exponential moving average of the task network's weights: kept while training, used from then on.

Keras's optimizer keeps the average; it is validated at each epoch's end, and what is evaluated and exported.
BatchNorm's moving statistics are those of the weights that were trained, not of the average.
"""

from collections.abc import Mapping
from typing import Any

import keras

from metaaug_tf.meta.model import MetaAugment


class AveragingSGD(keras.optimizers.SGD):
    """SGD that can average the variables it trains.

    At the end of fit Keras hands over all variables of the model, the policy network's too, of which this optimizer
    has no average.
    """

    def finalize_variable_values(self, var_list):
        """Gives the trained variables their averages, if there are any; `var_list` is not used."""
        del var_list
        super().finalize_variable_values(self._trainable_variables)


def averaging_callbacks(config: Mapping[str, Any]) -> list[keras.callbacks.Callback]:
    """What fit needs so that validation sees the averages: nothing where config["ema_momentum"] is 0."""
    return [keras.callbacks.SwapEMAWeights()] if config["ema_momentum"] else []


def use_averages(model: MetaAugment) -> None:
    """Gives the task network its averaged weights, if its optimizer keeps any; the same again changes nothing."""
    model.optimizer.finalize_variable_values(model.task.trainable_variables)
