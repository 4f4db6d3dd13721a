"""Any classifier of keras.applications by its name, from pixels in 0..255 to logits."""

import difflib
import inspect
import sys
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers

from metaaug_tf.errors import UserError


def application_names() -> list[str]:
    """The names of the networks in keras.applications."""
    return sorted(name for name, found in vars(keras.applications).items() if inspect.isfunction(found))


def application(
    name: str,
    classes: int,
    input_shape: Sequence[int],
    image_size: int = 0,
    pretrained: bool = False,
    freeze_backbone: bool = False,
) -> keras.Model:
    """Builds a network of keras.applications with a Dense layer of its own for the classes.

    Args:
        name: in keras.applications, for example EfficientNetV2B0.
        classes: number of logits, at least 2.
        input_shape: (height, width, 3) of the images in pixels.
        image_size: height and width to which images are resized (bilinearly) inside the model; 0: not at all.
        pretrained: start from the ImageNet weights, from Keras's cache or downloaded by Keras.
        freeze_backbone: train the Dense layer alone; BatchNorm then works with its stored statistics.

    Returns:
        Model from pixels [B, H, W, 3] in 0..255 (any dtype) to float32 logits [B, classes]; the preprocessing that
        the weights were trained with is part of it. The input of its last layer `logits` is the feature vector.

    Raises:
        UserError: unknown name (nearest listed), images the network can't take, weights that can't be had, or a
            frozen backbone without pretrained weights.
    """
    constructor = _constructor(name)
    if classes < 2 or input_shape[2] != 3:
        raise UserError(
            f"applications/{name} needs colour images (--config.channels=3) of at least 2 classes, "
            f"not {input_shape[2]} channel(s) and {classes} class(es)"
        )
    if freeze_backbone and not pretrained:
        raise UserError(
            "--config.freeze_backbone=True without --config.pretrained=True would keep random weights for ever; "
            "set both, or neither"
        )
    inputs = keras.Input(tuple(input_shape), name="images")
    x = layers.Resizing(image_size, image_size, name="resize")(inputs) if image_size else inputs
    backbone = _backbone(name, constructor, tuple(x.shape[1:]), pretrained)
    backbone.trainable = not freeze_backbone
    features = backbone(preprocessed(x, constructor))
    logits = layers.Dense(classes, dtype="float32", name="logits")(features)
    return keras.Model(inputs, logits, name=name.lower())


def preprocessed(x, constructor: Callable):
    """Pixels as the network's own preprocess_input makes them, by Keras layers that can be saved.

    What preprocess_input does is found by trying it: it may turn RGB to BGR, and scales and moves each channel.

    Args:
        x: Keras tensor [B, H, W, 3] in 0..255.
        constructor: of the network.
    """
    preprocess = sys.modules[constructor.__module__].preprocess_input
    probes = np.concatenate([np.zeros((1, 1, 1, 3)), np.eye(3).reshape(3, 1, 1, 3)]) * 255.0
    black, *primaries = preprocess(probes.copy(), data_format="channels_last").reshape(4, 3)
    slopes = (np.stack(primaries) - black) / 255.0  # rows: channel in, columns: channel out
    order = np.abs(slopes).argmax(axis=0)
    x = layers.Rescaling(1.0, name="to_float")(x)
    if list(order) == [2, 1, 0]:
        x = x[..., ::-1]
    scale = slopes[order, [0, 1, 2]]
    if np.allclose(scale, 1) and np.allclose(black, 0):
        return x
    return layers.Rescaling(scale.tolist(), offset=black.tolist(), name="preprocess")(x)


def _constructor(name: str) -> Callable:
    names = application_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[:5]
        raise UserError(
            f"keras.applications has no network {name!r}; nearest: {', '.join(near)} "
            f"(of {len(names)}; set --config.model=applications/NAME)"
        )
    return getattr(keras.applications, name)


def _backbone(name: str, constructor: Callable, input_shape: tuple[int, ...], pretrained: bool) -> keras.Model:
    try:
        return constructor(
            include_top=False, weights="imagenet" if pretrained else None, input_shape=input_shape, pooling="avg"
        )
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"applications/{name} can't take images of {input_shape[0]} x {input_shape[1]} pixels: {reason}; "
            "set --config.network_image_size to resize them inside the model"
        ) from error
    except Exception as error:  # Keras raises plain Exception where a download fails
        raise UserError(
            f"the ImageNet weights of applications/{name} can't be had: {str(error).splitlines()[0]}. Where there is "
            "no network, copy the file into ~/.keras/models (KERAS_HOME/models), or set --config.pretrained=False"
        ) from error
