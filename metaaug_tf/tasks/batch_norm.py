"""BatchNorm whose statistics are those of the global batch, for any network."""

import keras


def synchronise_batch_norm(task: keras.Model) -> None:
    """Lets every BatchNormalization layer take mean and variance over all replicas of a tf.distribute strategy.

    It is Keras's own `synchronized=True`, set afterwards; it is saved with the network. On one replica it changes
    the formula of the variance, E(x^2) - E(x)^2, and so results by rounding.

    Args:
        task: any Keras model; models within it are gone through as well.
    """
    for layer in task.layers:
        if isinstance(layer, keras.Model):
            synchronise_batch_norm(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
