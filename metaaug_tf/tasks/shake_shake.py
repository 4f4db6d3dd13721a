"""Shake-Shake 26 2 x Nd (Gastaldi, arXiv 1705.07485): two residual branches, mixed at random."""

from collections.abc import Sequence

import keras
from keras import layers, ops

from metaaug_tf.errors import UserError
from metaaug_tf.tasks.noise import ShakeShake
from metaaug_tf.tasks.parts import checked_input, classifier, convolution, normalised

_STEM_CHANNELS = 16
_SMALLEST_IMAGE = 8


def shake_shake(base_channels: int, classes: int, input_shape: Sequence[int], blocks_per_stage: int = 4) -> keras.Model:
    """Builds a Shake-Shake network with two branches as a functional model from images to logits.

    Source: section 2.1 of the paper and the author's code: branches ReLU-conv-BN-ReLU-conv-BN, three stages of
    N, 2 N and 4 N channels, Shake-Shake-Image; where the shape changes, the shortcut is ReLU, two 1 x 1
    convolutions of N/2 channels on the even pixels and on the odd ones, and BN.

    Args:
        base_channels: N, channels of the first stage, even: 32, 96 or 112 in the paper.
        classes: number of logits, at least 2.
        input_shape: (height, width, channels) in pixels.
        blocks_per_stage: 4 make the depth of 26.

    Returns:
        Model from pixels [B, H, W, C] in 0..255 (any dtype) to float32 logits [B, classes]. The input of its
        last layer `logits` is the feature vector [B, 4 * base_channels].

    Raises:
        UserError: base_channels is odd or too small, or images or classes are too few.
    """
    if base_channels < 2 or base_channels % 2 or blocks_per_stage < 1:
        raise UserError(
            f"Shake-Shake needs an even number of channels from 2 and at least 1 block per stage, "
            f"not {base_channels} and {blocks_per_stage}"
        )
    name = f"shake_shake_{6 * blocks_per_stage + 2}_2x{base_channels}d"
    inputs, x = checked_input(name, classes, input_shape, _SMALLEST_IMAGE)
    x = normalised(convolution(x, _STEM_CHANNELS, 3, 1, "stem"), "stem")
    for stage in range(3):
        for block in range(blocks_per_stage):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _block(x, base_channels * 2**stage, strides, f"stage{stage + 1}_block{block + 1}")
    return classifier(inputs, layers.ReLU(name="head_relu")(x), classes, name)


def _block(x, channels: int, strides: int, name: str):
    activation = layers.ReLU(name=f"{name}_relu")(x)
    branches = [_branch(activation, channels, strides, f"{name}_branch{number}") for number in (1, 2)]
    same_shape = strides == 1 and x.shape[-1] == channels
    shortcut = x if same_shape else _shortcut(activation, channels, strides, f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([shortcut, ShakeShake(name=f"{name}_shake")(branches)])


def _branch(activation, channels: int, strides: int, name: str):
    y = normalised(convolution(activation, channels, 3, strides, f"{name}_conv1"), f"{name}_a")
    y = layers.ReLU(name=f"{name}_relu")(y)
    return normalised(convolution(y, channels, 3, 1, f"{name}_conv2"), f"{name}_b")


def _shortcut(activation, channels: int, strides: int, name: str):
    """1 x 1 convolutions of the image and of the image moved by one pixel, each of every second pixel."""
    moved = ops.pad(activation[:, 1:, 1:], [[0, 0], [0, 1], [0, 1], [0, 0]])
    halves = [
        convolution(source, channels // 2, 1, strides, f"{name}_conv{number}")
        for number, source in enumerate((activation, moved), start=1)
    ]
    return normalised(layers.Concatenate(name=f"{name}_join")(halves), name)
