"""Image-classification datasets of TensorFlow Datasets (TFDS), from a prepared folder or downloaded once."""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from metaaug_tf.data.examples import Examples, Splits
from metaaug_tf.data.sources.images import check_memory, fit_image
from metaaug_tf.data.sources.tfds_builder import check_files, choose_splits, prepared_builder, quiet_tfds
from metaaug_tf.data.splits import cut_dataset
from metaaug_tf.errors import UserError
from metaaug_tf.settings import DataSettings


def load_tfds(settings: DataSettings, data_dir: str | None) -> Splits:
    """Read a TFDS dataset and cut it into the three sets.

    Args:
        settings: the `data` part of the config, see `metaaug_tf.data.sources.load.load_dataset`.
        data_dir: where TFDS keeps prepared datasets, None for its own default.

    Returns:
        The three sets. Classes are numbered 0..C-1 in the order of the dataset's ids; ids without any
        image are left out.

    Raises:
        UserError: the name is unknown; the data can't be had, lack the split or are damaged; the features
            aren't one image and one class; the images don't fit into memory; too few for the split.
    """
    builder = prepared_builder(settings.dataset, data_dir)
    check_features(builder)
    splits = choose_splits(builder, settings.split, settings.validation_split)
    check_files(builder, splits)
    counts = [builder.info.splits[split].num_examples for split in splits]
    shape = (*image_size(builder, settings.image_size), settings.channels)
    check_memory(sum(counts), *shape)
    sets = [_read(builder, split, count, shape) for split, count in zip(splits, counts, strict=True)]
    validation = sets.pop() if settings.validation_split else None
    pool, test = sets[0], sets[1] if len(sets) > 1 else None
    ids = np.unique(pool.labels)
    if validation is not None:
        check_same_classes(builder.name, settings.validation_split, validation.labels, ids)
    if test is not None and not np.isin(test.labels, ids).all():
        missing = sorted(set(test.labels.tolist()) - set(ids.tolist()))
        raise UserError(
            f"{builder.name}: {len(missing)} classes of the test split {splits[1]!r} (first: {missing[0]}) "
            f"have no image in the training split {splits[0]!r}; cut all sets from one split with "
            "--config.split=NAME."
        )
    numbered = [
        None if part is None else Examples(part.images, to_class_numbers(part.labels, ids))
        for part in (test, validation)
    ]
    pool = Examples(pool.images, to_class_numbers(pool.labels, ids))
    return cut_dataset(pool, numbered[0], class_names(builder, ids), settings, validation=numbered[1])


def check_same_classes(name: str, split: str, labels: np.ndarray, ids: np.ndarray) -> None:
    """Rejects a validation split whose classes are not those of the training set.

    Args:
        name: of the dataset.
        split: of the validation set.
        labels: int [M], its label ids.
        ids: int [C], the classes trained on.

    Raises:
        UserError: a class is in one of them only.
    """
    if len(odd := np.setxor1d(labels, ids)):
        raise UserError(
            f"{name}: the validation split {split!r} must have images of each class that is trained on and of no "
            f"other, found {len(odd)} (first: {odd[0]}) in one of them only"
        )


def to_class_numbers(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Positions int32 [N] in `ids` (sorted, int [C]) of `labels` (int [N], each one of them)."""
    return np.searchsorted(ids, labels).astype(np.int32)


def image_size(builder: tfds.core.DatasetBuilder, size: int) -> tuple[int, int]:
    """Height and width that images have once brought to `size` (0: their own).

    Raises:
        UserError: `size` is 0 but the images' own size isn't one and the same.
    """
    height, width = (size, size) if size else builder.info.features["image"].shape[:2]
    if height is None or width is None:
        raise UserError(f"images of {builder.name} differ in size: set --config.image_size.")
    return height, width


def check_features(builder: tfds.core.DatasetBuilder) -> None:
    """Check that an example is one uint8 image of 1 or 3 channels and one whole number as its class."""
    features = builder.info.features
    is_right = isinstance(features, tfds.features.FeaturesDict) and {"image", "label"} <= set(features)
    if is_right:
        image, label = features["image"], features["label"]
        is_image = image.np_dtype == np.uint8 and len(image.shape) == 3 and image.shape[-1] in (1, 3)
        is_right = is_image and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
    if not is_right:
        raise UserError(
            f"{builder.name} can't be used: it needs the features `image` (uint8, 1 or 3 channels) and "
            f"`label` (one whole number), it has {features}."
        )


def _read(builder: tfds.core.DatasetBuilder, split: str, count: int, shape: tuple[int, int, int]) -> Examples:
    """The `count` examples of a split, images of `shape`, the dataset's own label ids (int64), as stored."""
    images, labels = np.empty((count, *shape), np.uint8), np.empty(count, np.int64)

    def prepare(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        own = example["image"].shape[:2]
        return fit_image(example["image"], 0 if own == shape[:2] else shape[0], shape[2]), example["label"]

    position = 0
    try:
        wanted = tfds.decode.PartialDecoding({"image": True, "label": True})
        with quiet_tfds():
            data = builder.as_dataset(split=split, decoders=wanted, shuffle_files=False)
        data = data.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(256).prefetch(2)
        for image, label in data.as_numpy_iterator():
            images[position : position + len(label)], labels[position : position + len(label)] = image, label
            position += len(label)
        if position != count:
            raise OSError(f"{position} examples instead of {count}")
    except (tf.errors.OpError, OSError, ValueError) as error:
        reason = str(getattr(error, "message", error)).splitlines()[0]
        raise UserError(
            f"{builder.name}: the split {split!r} in {builder.data_path} can't be read ({reason}). The files "
            "are damaged or incomplete: remove that folder and prepare it again, or give another --data_dir."
        ) from error
    check_labels(builder, split, labels)
    return Examples(images, labels)


def check_labels(builder: tfds.core.DatasetBuilder, split: str, labels: np.ndarray) -> None:
    """Refuses labels, int [N], with one beyond the classes, or below 0: TFDS stores an image without a label so.

    Raises:
        UserError: there is one; where labels are missing, lists the other splits.
    """
    if (labels < 0).any():
        raise UserError(
            f"{builder.name}: the split {split!r} has images without a label; "
            f"choose another of {', '.join(builder.info.splits)} with --config.split=NAME."
        )
    label = builder.info.features["label"]
    if isinstance(label, tfds.features.ClassLabel) and labels.max() >= label.num_classes:
        raise UserError(
            f"{builder.name}: the split {split!r} in {builder.data_path} has an image of class {labels.max()}, but "
            f"there are {label.num_classes}, from 0. The files are damaged or of another version: prepare them again."
        )


def class_names(builder: tfds.core.DatasetBuilder, ids: np.ndarray) -> tuple[str, ...]:
    """The names of the classes with these ids, or the ids where there are no names."""
    label = builder.info.features["label"]
    if isinstance(label, tfds.features.ClassLabel):
        return tuple(label.int2str(int(number)) for number in ids)
    return tuple(str(number) for number in ids)
