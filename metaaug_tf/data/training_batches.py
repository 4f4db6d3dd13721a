"""Training batches from anybody's tf.data.Dataset of (images, labels)."""

import numpy as np
import tensorflow as tf

from metaaug_tf.augmentation.augment import Augmentation, augment
from metaaug_tf.data.examples import Examples, endless_passes
from metaaug_tf.data.training_dataset import VALIDATION_ORDER, order_key
from metaaug_tf.errors import UserError
from metaaug_tf.policy.sampler import PairSampler


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
    those of `batches`. `training_dataset` does the same for images in memory, with an order of its own, and can go on
    in the middle of an epoch.

    Args:
        batches: of (images uint8 [B, H, W, C], labels [B, ...]) or (images, labels, sample weights [B]), finite: an
            epoch of fit is one pass, without repeat() and steps_per_epoch.
        validation: images that the policy is judged by; a dataset of (images, labels) in batches is read into memory.
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
    judges = validation if isinstance(validation, Examples) else _in_memory(validation)
    _check_judges(judges, batches.element_spec)
    images, labels = tf.constant(judges.images), tf.constant(judges.labels)
    size = min(validation_batch_size, len(judges))

    def judging(_):
        key = order_key(seed, VALIDATION_ORDER)
        return endless_passes(len(judges), key, sampler.epoch.value).batch(size, drop_remainder=True)

    def load(numbered, chosen):
        first, batch = numbered
        indices = first + tf.range(tf.shape(batch[0], tf.int64)[0])
        augmented, pairs, magnitudes = augment(
            batch[0], indices, seed, sampler.epoch.value, sampler.probabilities.value, augmentation
        )
        inputs = {
            "images": augmented,
            "pairs": pairs,
            "magnitudes": magnitudes,
            "validation_images": tf.gather(images, chosen),
            "validation_labels": tf.gather(labels, chosen),
        }
        return inputs, *batch[1:]

    numbered = batches.scan(tf.constant(0, tf.int64), _numbered)
    both = tf.data.Dataset.zip(numbered, tf.data.Dataset.range(1).flat_map(judging))
    loaded = both.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if (length := int(batches.cardinality())) >= 0:
        loaded = loaded.apply(tf.data.experimental.assert_cardinality(length))
    return loaded.prefetch(2)


def _numbered(first: tf.Tensor, batch):
    """State and element of a scan: how many images came before, then (that, batch)."""
    return first + tf.shape(batch[0], tf.int64)[0], (first, batch)


def _check_batches(batches: tf.data.Dataset, which: str) -> None:
    if not isinstance(batches, tf.data.Dataset):
        raise UserError(
            f"the {which} batches are a tf.data.Dataset of (images, labels), not {type(batches).__name__}; images in "
            "memory go with ma.Examples and ma.training_dataset"
        )
    spec = batches.element_spec
    if not isinstance(spec, tuple) or not 2 <= len(spec) <= 3 or not isinstance(spec[0], tf.TensorSpec):
        raise UserError(f"the elements of the {which} batches are (images, labels), not {spec}")
    images = spec[0]
    if images.shape.rank == 3:
        raise UserError(f"the {which} images come one by one, as {images.shape}; add .batch(64)")
    if images.shape.rank != 4 or None in images.shape[1:]:
        raise UserError(f"the {which} images are [B, H, W, C] with known H, W and C, not {images.shape}")
    if images.dtype != tf.uint8:
        raise UserError(
            f"the {which} images are uint8, 0 to 255, as the operations need them, not {images.dtype.name}. Leave "
            "scaling to the classifier (keras.layers.Rescaling) and, where they are 0 to 255 already, add "
            ".map(lambda images, *rest: (tf.cast(tf.round(images), tf.uint8), *rest))"
        )
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UserError(f"the {which} batches never end; leave out repeat(): an epoch of fit is one pass")


def _in_memory(batches: tf.data.Dataset) -> Examples:
    _check_batches(batches, "validation")
    read = [batch[:2] for batch in batches.as_numpy_iterator()]
    if not read:
        raise UserError("there are no validation images; the policy needs labelled images to be judged by")
    return Examples(*map(np.concatenate, zip(*read, strict=True)))


def _check_judges(judges: Examples, spec) -> None:
    if len(judges) == 0:
        raise UserError("there are no validation images; the policy needs labelled images to be judged by")
    for name, array, training in zip(("images", "labels"), (judges.images, judges.labels), spec[:2], strict=True):
        if not training.shape[1:].is_compatible_with(array.shape[1:]):
            raise UserError(
                f"the validation {name} are {list(array.shape)}, the training {name} {training.shape}: they must agree "
                "in all but the first"
            )
