"""Exports the classifier of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from metaaug_tf.data.sources.images import fit_image
from metaaug_tf.export.encoded import decode_bounded
from metaaug_tf.export.savedmodel import DEFAULT_SIGNATURE, Signature, also_empty, write_version
from metaaug_tf.meta.model import MetaAugment

# How many images of a request are decoded at a time, which bounds the memory.
_DECODED_AT_ONCE = 4


def export_task(model: MetaAugment, folder: Path, class_names: Sequence[str], dataset: str) -> Path:
    """Exports the task network as a SavedModel; returns the version's folder, e.g. folder/1.

    Signatures; images of another size are resized, the batch may be of any size:
        serving_default: `images` uint8 [B, H, W, C] -> `probabilities` float32 [B, classes] and `classes` int64 [B],
            the most probable class's line in assets/class_names.txt.
        serving_bytes: `image_bytes` string [B], PNG or JPEG files of at most 2**24 pixels -> the same.
        features: `images` as above -> `features` float32 [B, F], what the policy network sees.

    Args:
        model: trained.
        folder: holds one subfolder per version.
        class_names: one per class.
        dataset: what it was trained on, for assets/metadata.json.
    """
    height, width, channels = model.task.input_shape[1:]

    def fit(images):
        fitted = fit_image(images, height, channels)
        return tf.ensure_shape(fitted, (*images.shape[:-3], height, width, channels))

    @also_empty
    def classify(images):
        predictions = tf.cast(model.task(images, training=False), tf.float32)
        return {"probabilities": tf.nn.softmax(predictions), "classes": tf.argmax(predictions, axis=-1)}

    def classify_bytes(image_bytes):
        images = tf.map_fn(
            lambda item: fit(decode_bounded(*item, channels)),
            (image_bytes, tf.range(tf.size(image_bytes))),
            fn_output_signature=tf.TensorSpec((height, height, channels), tf.uint8),
            parallel_iterations=_DECODED_AT_ONCE,
        )
        return classify(images)

    @also_empty
    def features(images):
        return {"features": tf.cast(model.features(images, training=False), tf.float32)}

    pixels = tf.TensorSpec((None, None, None, channels), tf.uint8, name="images")
    encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
    blank = np.zeros((1, height, width, channels), np.uint8)
    png = np.array([tf.io.encode_png(blank[0]).numpy()], object)
    signatures = [
        Signature(DEFAULT_SIGNATURE, lambda images: classify(fit(images)), [pixels], {"images": blank}),
        Signature("serving_bytes", classify_bytes, [encoded], {"image_bytes": png}),
        Signature("features", lambda images: features(fit(images)), [pixels], {"images": blank}),
    ]
    metadata = {
        "dataset": dataset,
        "classes": list(class_names),
        "image_size": [height, width, channels],
        "feature_width": model.feature_width,
    }
    return write_version(folder, [model.task], signatures, metadata, class_names)
