"""What the residual networks of the papers share: pixels in, initialisation, BatchNorm, the Dense layer of logits."""

from collections.abc import Sequence

import keras
from keras import layers

from metaaug_tf.errors import UserError


def checked_input(name: str, classes: int, input_shape: Sequence[int], smallest: int):
    """The Input and the pixels brought from 0..255 to [-1, 1].

    Args:
        name: of the network, for errors.
        classes: number of logits.
        input_shape: (height, width, channels) in pixels.
        smallest: height and width in pixels below which a stage would have no pixels left to convolve.

    Returns:
        (inputs, rescaled), Keras tensors [B, H, W, C].

    Raises:
        UserError: fewer than 2 classes, or images smaller than the network can take.
    """
    if classes < 2:
        raise UserError(f"{name} needs at least 2 classes, not {classes}")
    height, width = input_shape[:2]
    if min(height, width) < smallest:
        raise UserError(
            f"{name} takes images of at least {smallest} x {smallest} pixels, not {height} x {width}: "
            f"set --config.image_size={smallest} or more, or choose another --config.model"
        )
    inputs = keras.Input(tuple(input_shape), name="images")
    return inputs, layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)


def convolution(x, channels: int, kernel: int, strides: int, name: str):
    """Convolution without bias, He initialisation over the fan-out, as in the reference codes of all these networks."""
    init = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")
    layer = layers.Conv2D(channels, kernel, strides, padding="same", use_bias=False, kernel_initializer=init, name=name)
    return layer(x)


def normalised(x, name: str, gamma: str = "ones"):
    """BatchNorm that keeps 0.9 of its moving statistics per step; `gamma` is the initialiser of its scale."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=gamma, name=f"{name}_bn")(x)


def normalised_relu(x, name: str):
    """BatchNorm, then ReLU."""
    return layers.ReLU(name=f"{name}_relu")(normalised(x, name))


def classifier(inputs, x, classes: int, name: str, kernel_initializer="glorot_uniform") -> keras.Model:
    """The model that ends in an average over space, `features`, and a float32 Dense layer, `logits`."""
    x = layers.GlobalAveragePooling2D(name="features")(x)
    logits = layers.Dense(classes, dtype="float32", kernel_initializer=kernel_initializer, name="logits")(x)
    return keras.Model(inputs, logits, name=name)
