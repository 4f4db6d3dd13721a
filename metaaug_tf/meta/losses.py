"""Per-sample losses: what a weight can be applied to."""

from collections.abc import Callable

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError

PerSampleLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def per_sample_loss(loss) -> PerSampleLoss:
    """Turns a Keras loss into a function (labels, predictions) -> float [B], without its reduction.

    Args:
        loss: a keras.losses.Loss, a function or a name that keras.losses.get knows.

    Raises:
        UserError: nothing, or several losses, were given, or (when called) the loss returns a scalar.
    """
    if loss is None or isinstance(loss, (list, tuple, dict)):
        raise UserError(f"MetaAugment weighs one loss per image; loss={loss!r} is not one loss")
    found = keras.losses.get(loss)
    # Loss.call is what __call__ reduces: one value for every sample (and position, for dense outputs).
    unreduced = found.call if isinstance(found, keras.losses.Loss) else found

    def losses(labels, predictions):
        values = tf.convert_to_tensor(unreduced(labels, predictions))
        if values.shape.rank == 0:
            raise UserError(
                f"the loss {loss!r} returns one number for the whole batch; a loss for every sample is needed "
                "(as keras.losses.categorical_crossentropy returns, or any keras.losses.Loss holds)"
            )
        return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))

    return losses


def check_loss(losses: PerSampleLoss, predictions: tf.TensorSpec) -> None:
    """Tries a loss on two examples, before training, with the two usual forms of labels.

    Args:
        losses: from per_sample_loss.
        predictions: shape [B, ...] and dtype of the task's output; unknown sizes count as 1.

    Raises:
        UserError: it returns a scalar. A loss that takes labels of neither form is left to the first step.
    """
    values = tf.zeros([2, *(size or 1 for size in predictions.shape[1:])], predictions.dtype)
    for labels in (tf.zeros(2, tf.int32), values):
        try:
            losses(labels, values)
        except UserError:
            raise
        except (ValueError, TypeError, tf.errors.InvalidArgumentError):
            continue  # labels of the other form


def default_loss(task: keras.Model) -> keras.losses.Loss:
    """Sparse categorical cross-entropy, from logits unless the task ends in a softmax."""
    activation = getattr(task.outputs[0]._keras_history.operation, "activation", None)
    probabilities = activation is keras.activations.softmax or isinstance(task.layers[-1], keras.layers.Softmax)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities)


@keras.saving.register_keras_serializable("metaaug_tf")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of integer labels from logits, with label smoothing (Szegedy et al., arXiv 1512.00567, section 7).

    The label's class has the probability 1 - smoothing + smoothing / C, the others smoothing / C.
    """

    def __init__(self, smoothing: float = 0.0, name: str = "smoothed_cross_entropy"):
        """Makes the loss; `smoothing` from 0 to below 1."""
        super().__init__(name=name)
        self.smoothing = smoothing

    def call(self, labels, logits):
        """Losses float [B] of labels int [B] (or [B, 1]) and logits [B, C]."""
        own = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        if not self.smoothing:
            return own
        others = -keras.ops.mean(keras.ops.log_softmax(logits, axis=-1), axis=-1)
        return (1 - self.smoothing) * own + self.smoothing * others

    def get_config(self):
        """What __init__ takes."""
        return {"smoothing": self.smoothing, "name": self.name}
