"""WideResNet-d-k (Zagoruyko and Komodakis, 2016): pre-activation residual blocks, three stages."""

from collections.abc import Sequence

import keras
from keras import layers

from metaaug_tf.errors import UserError
from metaaug_tf.tasks.parts import checked_input, classifier, convolution, normalised_relu

STAGE_CHANNELS = (16, 32, 64)
_SMALLEST_IMAGE = 8


def wide_resnet(depth: int, width: int, classes: int, input_shape: Sequence[int]) -> keras.Model:
    """Builds WRN-depth-width as a functional model from images to logits.

    Source: Wide Residual Networks, section 2, without dropout; convolutions are initialised after He et al.
    (2015) as in the authors' code, the last Dense layer has Keras's own initialisation.

    Args:
        depth: number of convolutional layers, 6 n + 4 with n >= 1 (10, 16, 22, 28, 40, ...).
        width: factor on the 16, 32 and 64 channels of the stages, at least 1.
        classes: number of logits, at least 2.
        input_shape: (height, width, channels) in pixels.

    Returns:
        Model from pixels [B, H, W, C] in 0..255 (any dtype) to float32 logits [B, classes]. The input of its
        last layer `logits` is the feature vector [B, 64 * width].

    Raises:
        UserError: depth is not 6 n + 4, width is too small, or images or classes are too few.
    """
    _check(depth, width)
    blocks_per_stage = (depth - 4) // 6
    name = f"wide_resnet_{depth}_{width}"
    inputs, x = checked_input(name, classes, input_shape, _SMALLEST_IMAGE)
    x = convolution(x, STAGE_CHANNELS[0], kernel=3, strides=1, name="stem")
    for stage, channels in enumerate(STAGE_CHANNELS):
        for block in range(blocks_per_stage):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _block(x, channels * width, strides, f"stage{stage + 1}_block{block + 1}")
    return classifier(inputs, normalised_relu(x, "head"), classes, name)


def _check(depth: int, width: int) -> None:
    if depth < 10 or depth % 6 != 4:
        below = max(10, depth - (depth - 4) % 6)
        raise UserError(
            f"a WideResNet's depth is 6n+4 (10, 16, 22, 28, 34, 40, ...), not {depth}; "
            f"the nearest are {below} and {below + 6}"
        )
    if width < 1:
        raise UserError(f"a WideResNet needs width >= 1, not {width}")


def _block(x, channels: int, strides: int, name: str):
    """BN-ReLU-conv twice; where the shape changes, the shortcut is a 1 x 1 convolution of the activation."""
    activation = normalised_relu(x, f"{name}_a")
    same_shape = strides == 1 and x.shape[-1] == channels
    shortcut = x if same_shape else convolution(activation, channels, 1, strides, f"{name}_shortcut")
    y = convolution(activation, channels, 3, strides, f"{name}_conv1")
    y = convolution(normalised_relu(y, f"{name}_b"), channels, 3, 1, f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut, y])
