"""JPEG images that stay in TFRecord files: read in a shuffled order, decoded only where they are cropped.

An example's index is its place in the split, and every random choice depends on (seed, epoch, index) alone, as for
images in memory. The order is that of the files, shuffled, a few read in turn, then shuffled again within windows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils.shard_utils import FileInstruction

from metaaug_tf.augmentation.random import RESIZED_CROP_STREAM, seed_per_example
from metaaug_tf.data.examples import Examples, LabelledImages
from metaaug_tf.data.shuffling import repeated
from metaaug_tf.errors import UserError

_FILES_AT_ONCE = 16
_WINDOW = 2048  # examples shuffled together; encoded, so some 200 MB of ImageNet
_FILE_ORDER, _WINDOW_ORDER = range(2)
# Inception's crop: fraction of the image's area, width over height (Szegedy et al., arXiv 1409.4842, section 6).
_AREA, _ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
# The middle square that is evaluated: 224 pixels of a shorter side of 256.
_MIDDLE = 224 / 256


@dataclass(frozen=True)
class StreamedExamples:
    """Labelled JPEG images of one set, in files; a `LabelledImages`, whose docstrings say what the methods do.

    Attributes:
        files: what to read of which TFRecord file, in the order of the split.
        features: of the TFDS dataset, with `image` and `label`.
        image_size: height and width of the images given out, in pixels.
    """

    files: Sequence[FileInstruction]
    features: tfds.features.FeaturesDict
    image_size: int

    def __len__(self) -> int:
        """Number of examples."""
        return sum(file.take for file in self.files)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images given out."""
        return self.image_size, self.image_size, 3

    def order(self, key: int, epoch: tf.Tensor, steps: int, batch_size: int) -> tf.data.Dataset:
        """The epoch's batches (indices int64 [B], records string [B]), a pure function of (key, epoch)."""
        epoch = tf.cast(epoch, tf.int64)

        def seed(use, index=0):
            return tf.stack([tf.constant(key * 2 + use, tf.int64), epoch * (1 << 32) + index])

        files = tf.random.experimental.stateless_shuffle(tf.range(len(self.files)), seed(_FILE_ORDER))
        chosen = tf.data.Dataset.from_tensor_slices(tuple(tf.gather(column, files) for column in self._columns()))
        records = chosen.interleave(
            _read, cycle_length=_FILES_AT_ONCE, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

        def shuffle(index, window):
            places = tf.random.experimental.stateless_shuffle(tf.range(tf.size(window[0])), seed(_WINDOW_ORDER, index))
            return tuple(tf.gather(column, places) for column in window)

        records = records.batch(_WINDOW).enumerate().map(shuffle).unbatch()
        return records.batch(batch_size, drop_remainder=True).take(steps)

    def load(self, batch, times: int, seed, epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Random-resized crops of a batch (indices int64 [B], records string [B]), another crop for each copy."""
        indices, records = batch
        draws = repeated(indices, len(self), times)
        seeds = seed_per_example(RESIZED_CROP_STREAM, seed, epoch, draws)

        def one(inputs):
            record, seed = inputs
            encoded, label = self._parse_checked(record)
            return random_resized_crop(encoded, self.image_size, seed), label

        specs = tf.TensorSpec(self.image_shape, tf.uint8), tf.TensorSpec([], tf.int32)
        images, labels = tf.map_fn(one, (tf.tile(records, [times]), seeds), fn_output_signature=specs)
        return draws, images, labels

    def in_order(self) -> tf.data.Dataset:
        """The examples in the order of the split as (image uint8 [H, W, 3], label int32), the middle of each image."""
        files = tf.data.Dataset.from_tensor_slices(self._columns())

        def one(_, record):
            encoded, label = self._parse(record)
            return middle_crop(encoded, self.image_size), label

        dataset = files.flat_map(_read).map(one, num_parallel_calls=tf.data.AUTOTUNE)
        return dataset.apply(tf.data.experimental.assert_cardinality(len(self)))

    def head(self, count: int) -> Examples:
        """The first `count` examples, or all if there are fewer, in memory."""
        batch = self.in_order().batch(min(count, len(self))).take(1)
        return Examples(*next(batch.as_numpy_iterator()))

    def in_memory(self, count: int) -> Examples:
        """The first `count` examples."""
        return self.head(count)

    def check(self, classes: int | None) -> None:
        """Nothing: labels are checked where they are read."""

    def class_sizes(self, classes: int) -> np.ndarray | None:
        """Unknown without reading everything."""
        return None

    def find_fault(self) -> str:
        """Reads the files to their ends; what is wrong with the first that can't be read, or ""."""
        return next(filter(None, map(self._fault, self.files)), "")

    def _fault(self, file: FileInstruction) -> str:
        records = tf.data.TFRecordDataset(file.filename).skip(file.skip).take(file.take)
        images = records.map(self._whole_image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        good = 0
        try:
            for _ in images.map(tf.size):
                good += 1
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0].split("}} ")[-1].split(" [Op:")[0]
            return f"{file.filename}: record {file.skip + good} (from 0) can't be read: {reason}"
        return "" if good == file.take else f"{file.filename} ends after {file.skip + good} records"

    def _whole_image(self, record: tf.Tensor) -> tf.Tensor:
        """The image of a record, as large as it is: uint8 [h, w, 3]."""
        return tf.io.decode_jpeg(self._parse_checked(record)[0], channels=3)

    def _columns(self):
        """File names, first examples to read, how many, and the index of the first in the split."""
        names, skips, takes = zip(*((file.filename, file.skip, file.take) for file in self.files), strict=True)
        takes = tf.constant(takes, tf.int64)
        return tf.constant(names), tf.constant(skips, tf.int64), takes, tf.cumsum(takes, exclusive=True)

    def _parse(self, record: tf.Tensor):
        decoders = {"image": tfds.decode.SkipDecoding()}
        example = self.features.deserialize_example(record, decoders=decoders)
        return example["image"], tf.cast(example["label"], tf.int32)

    def _parse_checked(self, record: tf.Tensor):
        """The same; fails where the label is none, which the loss would take for any class or for NaN."""
        encoded, label = self._parse(record)
        classes = self.features["label"].num_classes
        is_class = tf.debugging.Assert((label >= 0) & (label < classes), ["no class, from 0, of", classes, "is", label])
        with tf.control_dependencies([is_class]):
            return tf.identity(encoded), tf.identity(label)


def random_resized_crop(encoded: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """A random part of a JPEG image, brought to size x size pixels; only that part is decoded.

    Args:
        encoded: string scalar.
        size: height and width of the result.
        seed: int64 [2].

    Returns:
        uint8 [size, size, 3], resized bilinearly, rounded to nearest.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(encoded),
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=_ASPECT,
        area_range=_AREA,
        max_attempts=10,
    )
    return _decoded_part(encoded, tf.concat([begin[:2], extent[:2]], axis=0), size)


def middle_crop(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """The middle square of a JPEG image, 224/256 of its shorter side, as uint8 [size, size, 3]."""
    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(encoded))
    side = tf.cast(tf.round(_MIDDLE * tf.cast(tf.minimum(height, width), tf.float32)), tf.int32)
    return _decoded_part(encoded, tf.stack([(height - side) // 2, (width - side) // 2, side, side]), size)


def _decoded_part(encoded: tf.Tensor, window: tf.Tensor, size: int) -> tf.Tensor:
    part = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
    resized = tf.image.resize(part, (size, size), method="bilinear")
    return tf.ensure_shape(tf.cast(tf.round(resized), tf.uint8), [size, size, 3])


def _read(name, skip, take, first) -> tf.data.Dataset:
    records = tf.data.TFRecordDataset(name).skip(skip).take(take)
    # Without it a file that ends too early would shift all examples after it, and only the epoch's end would tell.
    return records.apply(tf.data.experimental.assert_cardinality(take)).enumerate(first)


@contextmanager
def broken_files_named(*sets: LabelledImages) -> Iterator[None]:
    """Names the file where input failed, which TensorFlow's error does not; other errors pass.

    Args:
        *sets: what is being read; those in memory can't fail.

    Raises:
        UserError: a file can't be read, ends too early or holds an image that can't be decoded.
    """
    try:
        yield
    except tf.errors.OpError as error:
        faults = (examples.find_fault() for examples in sets) if input_failed(error) else ()
        fault = next(filter(None, faults), "")
        if not fault:
            raise
        raise UserError(
            f"{fault}. Fix the file (or prepare the dataset again); the same command resumes from the newest "
            "checkpoint, if there is one."
        ) from error


def input_failed(error: tf.errors.OpError) -> bool:
    """Whether it came from the input of a step, which then was not begun."""
    return "IteratorGetNext" in error.message
