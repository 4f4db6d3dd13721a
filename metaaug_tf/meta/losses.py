"""Per-sample losses: what a weight can be applied to."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError

# (labels [B, ...], predictions [B, ...]) -> float [B].
PerSampleLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def per_sample_loss(loss: keras.losses.Loss | Callable | str | None) -> PerSampleLoss:
    """Turns a Keras loss into a function (labels, predictions) -> float [B], without its reduction.

    Args:
        loss: a keras.losses.Loss, a function or a name that keras.losses.get knows.

    Raises:
        UserError: nothing, or several losses, were given, or (when called) the loss returns a scalar.
    """
    if loss is None or isinstance(loss, (list, tuple, dict)):
        raise UserError(f"loss must be one loss, got {loss!r}; MetaAugment weights one loss per image")
    found = keras.losses.get(loss)
    # Loss.call is what __call__ reduces: one value for every sample (and position, for dense outputs).
    unreduced = found.call if isinstance(found, keras.losses.Loss) else found

    def loss_of(labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        values = tf.convert_to_tensor(unreduced(labels, predictions))
        if values.shape.rank == 0:
            raise UserError(
                f"the loss {loss!r} must return one value per sample, got one number for the whole batch; use one like "
                "keras.losses.categorical_crossentropy, or any keras.losses.Loss"
            )
        return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))

    return loss_of


def check_loss(loss_of: PerSampleLoss, predictions: tf.TensorSpec) -> None:
    """Tries a loss on two examples, before training, with the two usual forms of labels.

    Args:
        loss_of: from per_sample_loss.
        predictions: shape [B, ...] and dtype of the task's output; unknown sizes count as 1.

    Raises:
        UserError: it returns a scalar. A loss that takes labels of neither form is left to the first step.
    """
    values = tf.zeros([2, *(size or 1 for size in predictions.shape[1:])], predictions.dtype)
    for labels in (tf.zeros(2, tf.int32), values):
        try:
            loss_of(labels, values)
        except UserError:
            raise
        except (ValueError, TypeError, tf.errors.InvalidArgumentError):
            continue  # labels of the other form


def default_loss(task: keras.Model) -> keras.losses.Loss:
    """Returns sparse categorical cross-entropy, from logits unless the task ends in a softmax."""
    activation = getattr(task.outputs[0]._keras_history.operation, "activation", None)
    probabilities = activation is keras.activations.softmax or isinstance(task.layers[-1], keras.layers.Softmax)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities)


def complete_class_weight(class_weight: Mapping[int, float] | None, classes: int) -> dict[int, float] | None:
    """Returns fit's class_weight with 1 for every class not named, which Keras drops beyond the last one named.

    Args:
        class_weight: as in fit.
        classes: width of the task's output; 1 stands for two classes.

    Raises:
        UserError: a key that is no class.
    """
    if class_weight is None:
        return None
    classes = max(classes, 2)
    if unknown := sorted(set(class_weight) - set(range(classes))):
        raise UserError(f"class_weight must have keys from 0 to {classes - 1}, the classes, got {unknown[0]}")
    return {index: float(class_weight.get(index, 1.0)) for index in range(classes)}


@keras.saving.register_keras_serializable("metaaug_tf")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of integer labels from logits, with label smoothing (Szegedy et al., arXiv 1512.00567, section 7).

    The label's class has the probability 1 - smoothing + smoothing / C, the others smoothing / C.
    """

    def __init__(self, smoothing: float = 0.0, name: str = "smoothed_cross_entropy"):
        """Creates the loss; `smoothing` is in [0, 1)."""
        super().__init__(name=name)
        self.smoothing = smoothing

    def call(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns losses float [B] of labels int [B] (or [B, 1]) and logits [B, C]."""
        own = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        if not self.smoothing:
            return own
        others = -keras.ops.mean(keras.ops.log_softmax(logits, axis=-1), axis=-1)
        return (1 - self.smoothing) * own + self.smoothing * others

    def get_config(self) -> dict[str, Any]:
        """Returns what __init__ takes."""
        return {"smoothing": self.smoothing, "name": self.name}
