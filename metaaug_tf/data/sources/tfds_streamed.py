"""TFDS datasets of JPEG images that are left in their files (--config.stream=True), for those too large for memory."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils.shard_utils import FileInstruction

from metaaug_tf.data.examples import Splits
from metaaug_tf.data.sources.images import check_memory
from metaaug_tf.data.sources.tfds import check_features, check_labels, check_same_classes, class_names
from metaaug_tf.data.sources.tfds_builder import check_files, choose_splits, prepared_builder
from metaaug_tf.data.streamed_examples import StreamedExamples, broken_files_named
from metaaug_tf.errors import UserError
from metaaug_tf.settings import DataSettings

# Settings that need every label or every image at hand, and the values that ask for nothing.
_IN_MEMORY_ONLY = {
    "train_per_class": 0,
    "validation_per_class": 0,
    "test_per_class": 0,
    "label_noise": 0,
    "long_tail": 1,
    "rare_classes": 0,
    "train_on_validation": False,
}
_JPEG_START = b"\xff\xd8"


def load_stream(settings: DataSettings, data_dir: str | None) -> Splits:
    """A TFDS dataset whose training and test images stay in files; the validation images are in memory.

    Sets are cut by index: TFDS writes its files in a shuffled order, so the last examples of a split are a random
    sample of it, though not one with the same number of every class.

    Args:
        settings: the `data` part of the config, see `metaaug_tf.data.sources.load.load_dataset`.
        data_dir: where TFDS keeps prepared datasets, None for its own default.

    Raises:
        UserError: as `load_tfds`; or images that aren't JPEG, classes whose number isn't known without reading
            everything, or a setting that needs all images in memory.
    """
    _check_settings(settings)
    builder = prepared_builder(settings.dataset, data_dir)
    check_features(builder)
    _check_classes_are_known(builder)
    splits = choose_splits(builder, settings.split, settings.validation_split)
    check_files(builder, splits)
    sets = [list(builder.info.splits[split].file_instructions) for split in splits]
    _check_jpeg(builder.name, sets[0])
    own_validation = sets.pop() if settings.validation_split else None
    pool = sets[0]
    if len(sets) == 1:
        pool, rest = _cut_end(pool, round(settings.test_fraction * _count(pool)), "testing")
        sets.append(rest)
    if own_validation is None:
        held_out = settings.validation_examples or round(settings.validation_fraction * _count(pool))
        train, validation = _cut_end(pool, held_out, "validation")
    else:
        train, validation, held_out = pool, own_validation, _count(own_validation)
    if settings.train_examples:
        train = cut_files(train, 0, settings.train_examples)
    check_memory(held_out, settings.image_size, settings.image_size, 3)
    train, validation, test = (
        StreamedExamples(files, builder.info.features, settings.image_size) for files in (train, validation, sets[1])
    )
    with broken_files_named(validation, test):
        held_out_images, first = validation.head(held_out), test.head(1)
    for split, labels in ((splits[0], held_out_images.labels), (splits[-1], first.labels)):
        check_labels(builder, split, labels)
    if own_validation is not None:
        ids = np.arange(builder.info.features["label"].num_classes)
        check_same_classes(builder.name, settings.validation_split, held_out_images.labels, ids)
    names = class_names(builder, np.arange(builder.info.features["label"].num_classes))
    return Splits(train, held_out_images, test, names)


def cut_files(files: Sequence[FileInstruction], start: int, stop: int) -> list[FileInstruction]:
    """The parts of `files` that hold the examples `start` to `stop` - 1, counted over all of them."""
    parts, first = [], 0
    for file in files:
        low, high = max(start - first, 0), min(stop - first, file.take)
        if low < high:
            parts.append(file.replace(skip=file.skip + low, take=high - low))
        first += file.take
    return parts


def _count(files: Sequence[FileInstruction]) -> int:
    return sum(file.take for file in files)


def _cut_end(files: list[FileInstruction], held_out: int, purpose: str):
    """The files without their last `held_out` examples, and those."""
    count = _count(files)
    if not 0 < held_out < count:
        raise UserError(
            f"{held_out} of {count} images can't be held out for {purpose}: 1 to {count - 1} can; set "
            "--config.validation_examples (or test_fraction, where the dataset has no test set)"
        )
    return cut_files(files, 0, count - held_out), cut_files(files, count - held_out, count)


def _check_settings(settings: DataSettings) -> None:
    values = {key: getattr(settings, key) for key in _IN_MEMORY_ONLY}
    given = [f"--config.{key}={value}" for key, value in values.items() if value != _IN_MEMORY_ONLY[key]]
    if given:
        raise UserError(f"{', '.join(given)} needs all images in memory: set --config.stream=False, or leave it out")
    if not settings.image_size or settings.channels != 3:
        raise UserError(
            f"--config.stream=True needs colour (--config.channels=3) and --config.image_size above 0, "
            f"not channels {settings.channels} and image_size {settings.image_size}"
        )


def _check_classes_are_known(builder: tfds.core.DatasetBuilder) -> None:
    if not isinstance(builder.info.features["label"], tfds.features.ClassLabel):
        raise UserError(
            f"{builder.name}: its labels are plain integers, {builder.info.features['label']}; which classes there are "
            "is known only once all are read; use --config.stream=False"
        )


def _check_jpeg(name: str, files: Sequence[FileInstruction]) -> None:
    """Refuses other formats, of which no part can be decoded alone, by the first record."""
    try:
        record = next(tf.data.TFRecordDataset(files[0].filename).take(1).as_numpy_iterator())
    except (tf.errors.OpError, StopIteration) as error:
        raise UserError(
            f"{name}: {files[0].filename} can't be read ({type(error).__name__}). The files are damaged or "
            "incomplete: prepare the dataset again, or give another --data_dir."
        ) from error
    image = tf.train.Example.FromString(record).features.feature["image"].bytes_list.value
    if not image or not image[0].startswith(_JPEG_START):
        raise UserError(f"{name}: its images aren't stored as JPEG, so they can't be streamed; --config.stream=False")
