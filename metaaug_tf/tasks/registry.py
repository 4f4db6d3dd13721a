"""Task networks by name: one row per network, built from the run's settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from metaaug_tf.errors import UserError
from metaaug_tf.tasks.conv_net import conv_net
from metaaug_tf.tasks.wide_resnet import wide_resnet

Builder = Callable[[Mapping[str, Any], int, Sequence[int]], keras.Model]

NETWORKS: dict[str, Builder] = {
    "conv_net": lambda settings, classes, shape: conv_net(settings["width"], classes, shape),
    "wide_resnet": lambda settings, classes, shape: wide_resnet(settings["depth"], settings["width"], classes, shape),
}


def build_task(settings: Mapping[str, Any], classes: int, input_shape: Sequence[int]) -> keras.Model:
    """Builds the task network `settings["model"]`.

    Args:
        settings: the resolved config; a network reads the keys it needs (`depth`, `width`).
        classes: number of logits.
        input_shape: (height, width, channels) in pixels.

    Raises:
        UserError: unknown network, or settings that the network refuses.
    """
    name = settings["model"]
    if name not in NETWORKS:
        raise UserError(f"unknown network --config.model={name}; there are: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name](settings, classes, input_shape)
