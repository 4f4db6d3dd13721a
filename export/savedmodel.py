"""Exports the classifier and the policy of a run as SavedModels that need nothing of this package."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from metaaug_tf.data.images import fit_image
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.transform import transformation_embedding

CLASS_NAMES_FILE = "class_names.txt"


def export_task(model: MetaAugment, folder: Path, class_names: Sequence[str]) -> Path:
    """Exports the task network; returns the version's folder, e.g. folder/1.

    Signatures, both with outputs `probabilities` float32 [B, classes] and `classes` int64 [B], the most probable
    class's line in assets/class_names.txt:
        serving_default: `images` uint8 [B, H, W, C] of any size.
        serving_bytes: `image_bytes` string [B], PNG or JPEG files.

    Args:
        model: trained.
        folder: holds one subfolder per version.
        class_names: one per class.
    """
    height, _, channels = model.task.input_shape[1:]

    def classify(images):
        predictions = tf.cast(model.task(fit_image(images, height, channels), training=False), tf.float32)
        return {"probabilities": tf.nn.softmax(predictions), "classes": tf.argmax(predictions, axis=-1)}

    def decode(image_bytes):
        image = tf.io.decode_image(image_bytes, channels=channels, expand_animations=False)
        return fit_image(tf.ensure_shape(image, (None, None, channels)), height, channels)

    def classify_bytes(image_bytes):
        shape = tf.TensorSpec((height, height, channels), tf.uint8)
        return classify(tf.map_fn(decode, image_bytes, fn_output_signature=shape))

    def write(path: Path) -> None:
        archive = keras.export.ExportArchive()
        archive.track(model.task)
        images = tf.TensorSpec((None, None, None, channels), tf.uint8, name="images")
        encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
        archive.add_endpoint("serving_default", classify, [images])
        archive.add_endpoint("serving_bytes", classify_bytes, [encoded])
        with tempfile.TemporaryDirectory() as scratch:
            names = Path(scratch) / CLASS_NAMES_FILE
            names.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
            archive._tf_trackable.class_names = tf.saved_model.Asset(str(names))
            archive.write_out(str(path), verbose=False)

    return _write_version(folder, write)


def export_policy(model: MetaAugment, folder: Path) -> Path:
    """Exports the policy network with the task's features inside; returns the version's folder.

    Signature serving_default: `images` uint8 [B, H, W, C] as augmented, `pairs` int32 [B, 2] and `magnitudes`
    float32 [B, 2] that made them -> `weights` float32 [B], the raw weights in (0, 1).

    Args:
        model: trained, with a policy network.
        folder: holds one subfolder per version.
    """

    def weigh(images, pairs, magnitudes):
        features = model.features(images, training=False)
        return {"weights": model.policy_network(features, transformation_embedding(pairs, magnitudes))}

    def write(path: Path) -> None:
        archive = keras.export.ExportArchive()
        archive.track(model.task)
        archive.track(model.policy_network)
        images = tf.TensorSpec((None, *model.task.input_shape[1:]), tf.uint8, name="images")
        pairs = tf.TensorSpec((None, 2), tf.int32, name="pairs")
        magnitudes = tf.TensorSpec((None, 2), tf.float32, name="magnitudes")
        archive.add_endpoint("serving_default", weigh, [images, pairs, magnitudes])
        archive.write_out(str(path), verbose=False)

    return _write_version(folder, write)


def _write_version(folder: Path, write: Callable[[Path], None]) -> Path:
    """Writes the next version aside and renames it, so that it is complete or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = [int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()]
    final = folder / str(max(taken, default=0) + 1)
    aside = folder / f".{final.name}.part"
    shutil.rmtree(aside, ignore_errors=True)
    write(aside)
    os.replace(aside, final)
    return final
