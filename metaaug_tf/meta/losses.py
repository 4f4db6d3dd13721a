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
        UserError: nothing, or several losses, were given.
        ValueError: the loss function returns a scalar (when called).
    """
    if loss is None or isinstance(loss, (list, tuple, dict)):
        raise UserError(f"MetaAugment weighs one loss per image; loss={loss!r} is not one loss")
    found = keras.losses.get(loss)
    # Loss.call is what __call__ reduces: one value for every sample (and position, for dense outputs).
    unreduced = found.call if isinstance(found, keras.losses.Loss) else found

    def losses(labels, predictions):
        values = tf.convert_to_tensor(unreduced(labels, predictions))
        if values.shape.rank == 0:
            raise ValueError(
                f"the loss {loss!r} returns one number for the whole batch; a loss for every sample is needed"
            )
        return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))

    return losses


def default_loss(task: keras.Model) -> keras.losses.Loss:
    """Sparse categorical cross-entropy, from logits unless the task ends in a softmax."""
    activation = getattr(task.outputs[0]._keras_history.operation, "activation", None)
    probabilities = activation is keras.activations.softmax or isinstance(task.layers[-1], keras.layers.Softmax)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities)
