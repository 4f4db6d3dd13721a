"""Exports the classifier for ONNX Runtime and LiteRT, by Keras's own converters."""

import importlib.util
from pathlib import Path

import keras

from metaaug_tf.errors import UserError
from metaaug_tf.files import written_aside

FORMATS = {"onnx": "task.onnx", "litert": "task.tflite"}


def check_format(kind: str) -> None:
    """Raises UserError unless `kind` is a format whose converter is installed."""
    if kind not in FORMATS:
        raise UserError(f"there is no export format {kind!r}; allowed: {', '.join(FORMATS)}")
    if kind == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        raise UserError("the export to onnx needs tf2onnx: python -m pip install 'metaaug_tf[onnx]'")


def export_runtime(task: keras.Model, folder: Path, kind: str) -> Path:
    """Writes the classifier as folder/task.onnx or folder/task.tflite, whole or not at all; returns the file.

    Input: uint8 [B, H, W, C] of the task's size (no resizing), B free. Output: probabilities float32 [B, classes].

    Args:
        task: the classifier, giving logits.
        folder: made where it is not there.
        kind: "onnx" or "litert".

    Raises:
        UserError: another format, or the converter is not installed.
    """
    check_format(kind)
    path = folder / FORMATS[kind]
    with written_aside(path) as aside:
        signature = [keras.InputSpec(dtype="uint8", shape=(None, *task.input_shape[1:]), name="images")]
        _with_probabilities(task).export(str(aside), format=kind, verbose=False, input_signature=signature)
    return path


def _with_probabilities(task: keras.Model) -> keras.Model:
    """uint8 images -> probabilities, sharing the task's variables."""
    images = keras.Input(task.input_shape[1:], dtype="uint8", name="images")
    logits = keras.ops.cast(task(images, training=False), "float32")
    return keras.Model(images, keras.layers.Softmax(dtype="float32", name="probabilities")(logits))
