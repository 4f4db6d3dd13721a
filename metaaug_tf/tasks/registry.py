"""Task networks by name, a row each; free of TensorFlow, so that the command line can name them.

To add a network, write its file, with a function of the file's name, and a row.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metaaug_tf.errors import UserError
from metaaug_tf.settings import NetworkSettings

if TYPE_CHECKING:
    import keras

APPLICATIONS = "applications/"


@dataclass(frozen=True)
class Network:
    """How a network is built.

    Attributes:
        builder: name of a file of this folder and of the function in it.
        settings: fields of NetworkSettings that the function takes.
        fixed: its other arguments, besides classes and input_shape.
    """

    builder: str
    settings: tuple[str, ...] = ()
    fixed: Mapping[str, int] = field(default_factory=dict)


# Names with a depth in them are the networks of the papers.
NETWORKS: dict[str, Network] = {
    "conv_net": Network("conv_net", settings=("width",)),
    "wide_resnet": Network("wide_resnet", settings=("depth", "width")),
    "wrn_40_2": Network("wide_resnet", fixed={"depth": 40, "width": 2}),
    "wrn_28_10": Network("wide_resnet", fixed={"depth": 28, "width": 10}),
    "shake_shake_26_2x32d": Network("shake_shake", fixed={"base_channels": 32}),
    "shake_shake_26_2x96d": Network("shake_shake", fixed={"base_channels": 96}),
    "shake_shake_26_2x112d": Network("shake_shake", fixed={"base_channels": 112}),
    "pyramidnet_272_a200": Network("pyramidnet", fixed={"depth": 272, "alpha": 200}),
    "resnet_50": Network("resnet", fixed={"depth": 50}),
    "resnet_200": Network("resnet", fixed={"depth": 200}),
}


def build_task(settings: NetworkSettings, classes: int, input_shape: Sequence[int]) -> keras.Model:
    """Builds the task network `settings.model`.

    Args:
        settings: of the network.
        classes: number of logits.
        input_shape: (height, width, channels) in pixels.

    Raises:
        UserError: unknown network, or settings that the network rejects.
    """
    name = settings.model
    if name.startswith(APPLICATIONS):
        from metaaug_tf.tasks.applications import application

        return application(
            name.removeprefix(APPLICATIONS),
            classes,
            input_shape,
            settings.network_image_size,
            settings.pretrained,
            settings.freeze_backbone,
        )
    if name not in NETWORKS:
        raise UserError(
            f"--config.model must be one of {', '.join(NETWORKS)} or applications/NAME (NAME in keras.applications), "
            f"got {name}"
        )
    row = NETWORKS[name]
    build = getattr(importlib.import_module(f"metaaug_tf.tasks.{row.builder}"), row.builder)
    chosen = {key: getattr(settings, key) for key in row.settings}
    return build(**row.fixed, **chosen, classes=classes, input_shape=input_shape)
