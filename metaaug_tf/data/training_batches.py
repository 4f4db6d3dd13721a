"""Training batches from anybody's tf.data.Dataset of (images, labels)."""

import numpy as np
import tensorflow as tf

from metaaug_tf.augmentation.augment import augment
from metaaug_tf.augmentation.batch import TrainingInputs
from metaaug_tf.data.examples import Examples
from metaaug_tf.data.shuffling import VALIDATION_ORDER, endless_passes, order_key
from metaaug_tf.errors import UserError
from metaaug_tf.policy.sampler import PairSampler
from metaaug_tf.settings import Augmentation


def training_batches(
    batches: tf.data.Dataset,
    validation: tf.data.Dataset | Examples,
    sampler: PairSampler,
    *,
    validation_batch_size: int = 128,
    seed: int = 0,
    augmentation: Augmentation | None = None,
) -> tf.data.Dataset:
    """One epoch of batches for MetaAugment.fit from a dataset of one's own: each of its batches, augmented.

    What an image becomes depends on (seed, epoch, its place in the pass over `batches`) alone; order and batch size are
    those of `batches`. `training_dataset` does the same for images in memory, with an order of its own, and can resume
    in the middle of an epoch.

    Args:
        batches: of (images uint8 [B, H, W, C], labels [B, ...]) or (images, labels, sample weights [B]), finite: an
            epoch of fit is one pass, without repeat() and steps_per_epoch.
        validation: images for the meta-gradient; a dataset of (images, labels) in batches is read into memory.
            Keep them apart from the ones that results are reported on.
        sampler: the model's.
        validation_batch_size: validation images a step; more than there are = all of them.
        seed: of all random choices.
        augmentation: what is done to training images; by default Augmentation(), with crop and flip.

    Returns:
        Dataset of (inputs, labels) or (inputs, labels, sample weights), inputs as from `training_dataset`; as long as
        `batches`.

    Raises:
        UserError: images that are not batches of uint8, an endless dataset, no validation images, validation images or
            labels of another shape.
    """
    augmentation = augmentation or Augmentation()
    _check_batches(batches, "training")
    if augmentation.transforms_per_sample != 1:
        raise UserError("transforms_per_sample needs training_dataset; training_batches draws once for each image")
    examples = validation if isinstance(validation, Examples) else _in_memory(validation)
    _check_validation(examples, batches.element_spec)
    size = min(validation_batch_size, len(examples))

    def validation_order(_):
        key = order_key(seed, VALIDATION_ORDER)
        return endless_passes(len(examples), key, sampler.epoch.value).batch(size, drop_remainder=True)

    def load(indexed, validation_indices):
        first, (images, *labels) = indexed
        indices = first + tf.range(tf.shape(images, tf.int64)[0])
        images, pairs, magnitudes = augment(
            images, indices, seed, sampler.epoch.value, sampler.probabilities.value, augmentation
        )
        validation_images, validation_labels = examples.tensors
        inputs = TrainingInputs(
            images=images,
            pairs=pairs,
            magnitudes=magnitudes,
            validation_images=tf.gather(validation_images, validation_indices),
            validation_labels=tf.gather(validation_labels, validation_indices),
        )
        return inputs, *labels

    indexed = batches.scan(tf.constant(0, tf.int64), _with_first_index)
    both = tf.data.Dataset.zip(indexed, tf.data.Dataset.range(1).flat_map(validation_order))
    loaded = both.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if (length := int(batches.cardinality())) >= 0:
        loaded = loaded.apply(tf.data.experimental.assert_cardinality(length))
    return loaded.prefetch(2)


def _with_first_index(first: tf.Tensor, batch):
    """State and element of a scan: the number of images that came before, then (that, batch)."""
    return first + tf.shape(batch[0], tf.int64)[0], (first, batch)


def _check_batches(batches: tf.data.Dataset, which: str) -> None:
    if not isinstance(batches, tf.data.Dataset):
        raise UserError(
            f"the {which} batches must be a tf.data.Dataset of (images, labels), got {type(batches).__name__}; for "
            "images in memory use ma.Examples and ma.training_dataset"
        )
    spec = batches.element_spec
    if not isinstance(spec, tuple) or not 2 <= len(spec) <= 3 or not isinstance(spec[0], tf.TensorSpec):
        raise UserError(f"the elements of the {which} batches must be (images, labels), got {spec}")
    images = spec[0]
    if images.shape.rank == 3:
        raise UserError(f"the {which} images must be in batches, got single images {images.shape}; add .batch(64)")
    if images.shape.rank != 4 or None in images.shape[1:]:
        raise UserError(f"the {which} images must be [B, H, W, C] with known H, W and C, got {images.shape}")
    if images.dtype != tf.uint8:
        raise UserError(
            f"the {which} images must be uint8, 0 to 255, as the operations need them, got {images.dtype.name}; leave "
            "scaling to the classifier (keras.layers.Rescaling) and, where they are 0 to 255 already, add "
            ".map(lambda images, *rest: (tf.cast(tf.round(images), tf.uint8), *rest))"
        )
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UserError(f"the {which} batches never end; leave out repeat(): an epoch of fit is one pass")


def _in_memory(batches: tf.data.Dataset) -> Examples:
    _check_batches(batches, "validation")
    read = [batch[:2] for batch in batches.as_numpy_iterator()]
    if not read:
        raise UserError("the validation set is empty; the policy needs labelled images to learn from")
    return Examples(*map(np.concatenate, zip(*read, strict=True)))


def _check_validation(examples: Examples, spec) -> None:
    if len(examples) == 0:
        raise UserError("the validation set is empty; the policy needs labelled images to learn from")
    for name, array, training in zip(("images", "labels"), (examples.images, examples.labels), spec[:2], strict=True):
        if not training.shape[1:].is_compatible_with(array.shape[1:]):
            raise UserError(
                f"the validation {name} must have the shape of the training {name}, {training.shape}, in all but the "
                f"first axis, got {list(array.shape)}"
            )
