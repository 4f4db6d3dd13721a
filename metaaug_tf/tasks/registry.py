"""Task networks by name: one row per network, built from the run's settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from metaaug_tf.errors import UserError
from metaaug_tf.tasks.applications import application
from metaaug_tf.tasks.conv_net import conv_net
from metaaug_tf.tasks.pyramidnet import pyramidnet
from metaaug_tf.tasks.resnet import resnet
from metaaug_tf.tasks.shake_shake import shake_shake
from metaaug_tf.tasks.wide_resnet import wide_resnet

Builder = Callable[[Mapping[str, Any], int, Sequence[int]], keras.Model]

APPLICATIONS = "applications/"

# Names with a depth in them have no settings; they are the networks of the papers.
NETWORKS: dict[str, Builder] = {
    "conv_net": lambda settings, classes, shape: conv_net(settings["width"], classes, shape),
    "wide_resnet": lambda settings, classes, shape: wide_resnet(settings["depth"], settings["width"], classes, shape),
    "wrn_40_2": lambda _, classes, shape: wide_resnet(40, 2, classes, shape),
    "wrn_28_10": lambda _, classes, shape: wide_resnet(28, 10, classes, shape),
    "shake_shake_26_2x32d": lambda _, classes, shape: shake_shake(32, classes, shape),
    "shake_shake_26_2x96d": lambda _, classes, shape: shake_shake(96, classes, shape),
    "shake_shake_26_2x112d": lambda _, classes, shape: shake_shake(112, classes, shape),
    "pyramidnet_272_a200": lambda _, classes, shape: pyramidnet(272, 200, classes, shape),
    "resnet_50": lambda _, classes, shape: resnet(50, classes, shape),
    "resnet_200": lambda _, classes, shape: resnet(200, classes, shape),
}


def build_task(settings: Mapping[str, Any], classes: int, input_shape: Sequence[int]) -> keras.Model:
    """Builds the task network `settings["model"]`.

    Args:
        settings: the resolved config; a network reads the keys it needs (`depth`, `width`; those of
            keras.applications `network_image_size`, `pretrained`, `freeze_backbone`).
        classes: number of logits.
        input_shape: (height, width, channels) in pixels.

    Raises:
        UserError: unknown network, or settings that the network refuses.
    """
    name = settings["model"]
    if name.startswith(APPLICATIONS):
        return application(
            name.removeprefix(APPLICATIONS),
            classes,
            input_shape,
            settings["network_image_size"],
            settings["pretrained"],
            settings["freeze_backbone"],
        )
    if name not in NETWORKS:
        raise UserError(
            f"unknown network --config.model={name}; there are: {', '.join(NETWORKS)}, applications/NAME "
            "(NAME in keras.applications)"
        )
    return NETWORKS[name](settings, classes, input_shape)
