"""ResNet-50 and ResNet-200 with bottlenecks for 224-pixel images (He et al., arXiv 1512.03385 and 1603.05027)."""

from collections.abc import Sequence

import keras
from keras import layers

from metaaug_tf.errors import UserError
from metaaug_tf.tasks.parts import checked_input, classifier, convolution, normalised, normalised_relu

BLOCKS_PER_STAGE = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
_STEM_CHANNELS = 64
_EXPANSION = 4
_SMALLEST_IMAGE = 32


def resnet(depth: int, classes: int, input_shape: Sequence[int]) -> keras.Model:
    """Builds a ResNet with bottleneck blocks as a functional model from images to logits.

    Depth 50, 101 and 152: He et al. 2015, table 1, with the stride of a stage in its first 3 x 3 convolution and
    zero as the initial scale of each block's last BatchNorm (Goyal et al., arXiv 1706.02677, section 5.1). Depth
    200: the pre-activation blocks of He et al. 2016. The Dense layer is initialised from N(0, 0.01) (Goyal et al.).

    Args:
        depth: a key of BLOCKS_PER_STAGE.
        classes: number of logits, at least 2.
        input_shape: (height, width, channels) in pixels.

    Returns:
        Model from pixels [B, H, W, C] in 0..255 (any dtype) to float32 logits [B, classes]. The input of its
        last layer `logits` is the feature vector [B, 2048].

    Raises:
        UserError: unknown depth, or images or classes are too few.
    """
    if depth not in BLOCKS_PER_STAGE:
        raise UserError(f"a ResNet's depth is one of {', '.join(map(str, BLOCKS_PER_STAGE))}, not {depth}")
    inputs, x = checked_input(f"resnet_{depth}", classes, input_shape, _SMALLEST_IMAGE)
    x = normalised_relu(convolution(x, _STEM_CHANNELS, 7, 2, "stem"), "stem")
    x = layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    block_of = _preactivation_block if depth == 200 else _block
    for stage, blocks in enumerate(BLOCKS_PER_STAGE[depth]):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = block_of(x, _STEM_CHANNELS * 2**stage, strides, f"stage{stage + 1}_block{block + 1}")
    if depth == 200:
        x = normalised_relu(x, "head")
    return classifier(inputs, x, classes, f"resnet_{depth}", keras.initializers.RandomNormal(stddev=0.01))


def _block(x, channels: int, strides: int, name: str):
    shortcut = x
    if strides > 1 or x.shape[-1] != channels * _EXPANSION:
        shortcut = convolution(x, channels * _EXPANSION, 1, strides, f"{name}_shortcut")
        shortcut = normalised(shortcut, f"{name}_shortcut")
    y = normalised_relu(convolution(x, channels, 1, 1, f"{name}_conv1"), f"{name}_a")
    y = normalised_relu(convolution(y, channels, 3, strides, f"{name}_conv2"), f"{name}_b")
    y = normalised(convolution(y, channels * _EXPANSION, 1, 1, f"{name}_conv3"), f"{name}_c", gamma="zeros")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([shortcut, y]))


def _preactivation_block(x, channels: int, strides: int, name: str):
    activation = normalised_relu(x, f"{name}_a")
    shortcut = x
    if strides > 1 or x.shape[-1] != channels * _EXPANSION:
        shortcut = convolution(activation, channels * _EXPANSION, 1, strides, f"{name}_shortcut")
    y = convolution(activation, channels, 1, 1, f"{name}_conv1")
    y = convolution(normalised_relu(y, f"{name}_b"), channels, 3, strides, f"{name}_conv2")
    y = convolution(normalised_relu(y, f"{name}_c"), channels * _EXPANSION, 1, 1, f"{name}_conv3")
    return layers.Add(name=f"{name}_add")([shortcut, y])
