"""PyramidNet with bottlenecks (Han et al., arXiv 1610.02915) and ShakeDrop (Yamada et al., arXiv 1802.02375)."""

from collections.abc import Sequence

import keras
from keras import layers, ops

from metaaug_tf.errors import UserError
from metaaug_tf.tasks.noise import ShakeDrop
from metaaug_tf.tasks.parts import checked_input, classifier, convolution, normalised, normalised_relu

_STEM_CHANNELS = 16
_EXPANSION = 4
_LAST_SURVIVAL = 0.5
_SMALLEST_IMAGE = 8


def pyramidnet(depth: int, alpha: int, classes: int, input_shape: Sequence[int]) -> keras.Model:
    """Builds PyramidNet-depth with widening factor alpha as a functional model from images to logits.

    Source: PyramidNet's section 3, additive widening: the width of block k of n is floor(16 + alpha k / n), its
    bottleneck BN-conv1-BN-ReLU-conv3-BN-ReLU-conv1-BN; the shortcut is averaged over 2 x 2 pixels where the image
    is halved and filled up with zero channels. The authors' code rounds the width instead, which makes 26.2M
    parameters of the paper's 26.0M at depth 272. ShakeDrop: survival 1 - k / (2 n), the linear decay to 1/2.

    Args:
        depth: number of convolutional layers, 9 n + 2 (272 in the paper).
        alpha: how much the width grows from the first to the last block (200 in the paper).
        classes: number of logits, at least 2.
        input_shape: (height, width, channels) in pixels.

    Returns:
        Model from pixels [B, H, W, C] in 0..255 (any dtype) to float32 logits [B, classes]. The input of its
        last layer `logits` is the feature vector [B, 4 * (16 + alpha)].

    Raises:
        UserError: depth is not 9 n + 2, alpha is below 1, or images or classes are too few.
    """
    if depth < 11 or depth % 9 != 2 or alpha < 1:
        raise UserError(f"PyramidNet needs a depth of 9n+2 (11, 20, ..., 272) and alpha >= 1, not {depth} and {alpha}")
    name = f"pyramidnet_{depth}_a{alpha}"
    inputs, x = checked_input(name, classes, input_shape, _SMALLEST_IMAGE)
    x = normalised(convolution(x, _STEM_CHANNELS, 3, 1, "stem"), "stem")
    blocks_per_stage = (depth - 2) // 9
    blocks = 3 * blocks_per_stage
    for k in range(1, blocks + 1):
        stage, block = divmod(k - 1, blocks_per_stage)
        strides = 2 if stage > 0 and block == 0 else 1
        survival = 1 - k / blocks * (1 - _LAST_SURVIVAL)
        channels = _STEM_CHANNELS + alpha * k // blocks
        x = _block(x, channels, strides, survival, f"stage{stage + 1}_block{block + 1}")
    return classifier(inputs, normalised_relu(x, "head"), classes, name)


def _block(x, channels: int, strides: int, survival: float, name: str):
    y = convolution(normalised(x, f"{name}_a"), channels, 1, 1, f"{name}_conv1")
    y = convolution(normalised_relu(y, f"{name}_b"), channels, 3, strides, f"{name}_conv2")
    y = convolution(normalised_relu(y, f"{name}_c"), channels * _EXPANSION, 1, 1, f"{name}_conv3")
    y = ShakeDrop(survival, name=f"{name}_drop")(normalised(y, f"{name}_d"))
    shortcut = x
    if strides > 1:
        shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_pool")(x)
    new_channels = y.shape[-1] - x.shape[-1]
    if new_channels:
        shortcut = ops.pad(shortcut, [[0, 0], [0, 0], [0, 0], [0, new_channels]])
    return layers.Add(name=f"{name}_add")([shortcut, y])
