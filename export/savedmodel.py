"""Writes SavedModels: signatures, assets and warm-up requests, under a version's folder that is complete or absent."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import metaaug_tf
from metaaug_tf.export.warmup import write_warmup
from metaaug_tf.files import folder_written_aside, one_at_a_time, write_json, write_text

METADATA_FILE, CLASS_NAMES_FILE = "metadata.json", "class_names.txt"
DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Signature:
    """One way to call a SavedModel.

    Attributes:
        name: the signature's key.
        function: takes one tensor per spec, returns a dict of named tensors.
        inputs: specs with names, in the function's order.
        example: a request of the usual shape, by input name; servers run it when they load the model.
    """

    name: str
    function: Callable[..., dict[str, tf.Tensor]]
    inputs: Sequence[tf.TensorSpec]
    example: Mapping[str, np.ndarray]


def write_version(
    folder: Path,
    tracked: Sequence[keras.layers.Layer],
    signatures: Sequence[Signature],
    metadata: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
) -> Path:
    """Writes the next version of an export aside and renames it, so that it is complete or absent.

    Args:
        folder: holds one subfolder per version, 1 being the first.
        tracked: the layers whose variables the signatures read.
        signatures: what it can do.
        metadata: of assets/metadata.json, to which the package's version is added.
        class_names: lines of assets/class_names.txt; None writes no such file.

    Returns:
        The version's folder, e.g. folder/1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder):  # two exports of a run make two versions
        final = folder / str(max(versions(folder), default=0) + 1)
        with folder_written_aside(final) as aside:
            _write_archive(aside, tracked, signatures, {"metaaug_tf": metaaug_tf.__version__, **metadata}, class_names)
            write_warmup(aside, folder.name, {signature.name: signature.example for signature in signatures})
    return final


def versions(folder: Path) -> list[int]:
    """The versions that an export's folder holds, in order."""
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def _write_archive(path: Path, tracked, signatures, metadata, class_names) -> None:
    archive = keras.export.ExportArchive()
    for layer in tracked:
        archive.track(layer)
    for signature in signatures:
        archive.add_endpoint(signature.name, signature.function, list(signature.inputs))
    with tempfile.TemporaryDirectory() as scratch:
        write_json(Path(scratch) / METADATA_FILE, metadata)
        archive._tf_trackable.metadata = tf.saved_model.Asset(str(Path(scratch) / METADATA_FILE))
        if class_names is not None:
            write_text(Path(scratch) / CLASS_NAMES_FILE, "".join(f"{name}\n" for name in class_names))
            archive._tf_trackable.class_names = tf.saved_model.Asset(str(Path(scratch) / CLASS_NAMES_FILE))
        archive.write_out(str(path), verbose=False)


def read_metadata(version_folder: Path) -> dict[str, Any]:
    """The content of an export's assets/metadata.json."""
    return json.loads((version_folder / "assets" / METADATA_FILE).read_text(encoding="utf-8"))


def also_empty(function: Callable[..., dict[str, tf.Tensor]]) -> Callable[..., dict[str, tf.Tensor]]:
    """The same function, but for an empty batch it computes one example of zeros and gives no result of it.

    TensorFlow 2.21's fused convolutions on CPU fail on empty batches, in a second layer ("input depth must be evenly
    divisible by filter depth").

    Args:
        function: takes tensors [B, ...] of known [...], returns a dict of tensors [B, ...].
    """

    def call(*batched):
        count = tf.shape(batched[0])[0]
        results = function(
            *(tf.cond(count > 0, lambda values=values: values, _zero_like(values)) for values in batched)
        )
        return {name: result[:count] for name, result in results.items()}

    return call


def _zero_like(values: tf.Tensor) -> Callable[[], tf.Tensor]:
    return lambda: tf.zeros([1, *values.shape[1:]], values.dtype)
