"""The tf.data pipelines: training batches as a pure function of (seed, epoch, position), and evaluation batches."""

import numpy as np
import tensorflow as tf

from metaaug_tf.augmentation.augment import Augmentation, augment
from metaaug_tf.data.examples import Examples, InMemory, shuffled_passes
from metaaug_tf.data.input_shard import Share, check_divisible, distribute
from metaaug_tf.data.service import addresses_in, map_elsewhere
from metaaug_tf.data.streamed_examples import StreamedExamples
from metaaug_tf.errors import UserError
from metaaug_tf.policy.sampler import PairSampler

# Streams of random numbers that must not coincide: one for each use of the run's seed.
TRAIN_ORDER, VALIDATION_ORDER, _ORDERS = 1, 2, 4


def training_dataset(
    train: Examples | StreamedExamples,
    validation: Examples,
    sampler: PairSampler,
    *,
    batch_size: int = 128,
    validation_batch_size: int = 128,
    seed: int = 0,
    first_step: int = 0,
    classes: int | None = None,
    augmentation: Augmentation | None = None,
    data_service: str = "",
    strategy: tf.distribute.Strategy | None = None,
) -> tf.data.Dataset:
    """One epoch of batches for MetaAugment.fit, drawn anew each time it is iterated.

    The epoch's number and the table of pairs are read from `sampler` when the iteration starts. What an image
    becomes depends on (seed, epoch, its index) alone, not on threads, replicas or restarts; a last batch that is
    not full is left out. Batch v of the validation images follows batch v - 1 in an endless shuffled stream.

    With a strategy of several replicas each of them gets its part of every batch, and each worker makes the parts of
    its own replicas only; together they are the batches of one device.

    Args:
        train: examples to learn from, in memory or in files.
        validation: examples that the policy is judged by; they are not augmented.
        sampler: the model's.
        batch_size: training images a step, at most len(train).
        validation_batch_size: validation images a step; more than there are = all of them.
        seed: the run's.
        first_step: leaves out the epoch's first steps (by index, nothing is decoded), to go on after a restart.
        classes: number of classes; where given, labels beyond it are refused.
        augmentation: what is done to training images; by default Augmentation(), with crop and flip.
        data_service: tf.data services that make the batches instead of this process, as HOST:PORT,HOST2:PORT (see
            data/service.py); the batches are the same.
        strategy: of tf.distribute, the model's. Without it fit distributes whole batches, which every worker makes.

    Returns:
        Finite dataset (for several replicas a tf.distribute.DistributedDataset) with a known number of (inputs,
        labels): inputs holds images uint8 [B, H, W, C], pairs int32 [B, 2], magnitudes float32 [B, 2],
        validation_images uint8 [M, H, W, C], validation_labels int32 [M]; labels int32 [B].

    Raises:
        UserError: a batch larger than the training set, an empty set, images that are not uint8, labels that are
            no class, a service that does not answer, batches that the replicas can't share evenly.
    """
    augmentation = augmentation or Augmentation()
    for examples in (train, validation):
        if isinstance(examples, Examples):
            _check_examples(examples, classes)
    _check(train, validation, batch_size, validation_batch_size)
    steps = len(train) // batch_size
    validation_batch_size = min(validation_batch_size, len(validation))
    if strategy is not None:
        sizes = {"batch_size": batch_size, "validation_batch_size": validation_batch_size}
        check_divisible(sizes, strategy.num_replicas_in_sync)
    source = InMemory(train) if isinstance(train, Examples) else train
    judges = [tf.constant(array) for array in (validation.images, validation.labels)]
    times, services = augmentation.transforms_per_sample, addresses_in(data_service)

    def epoch_of_parts(share: Share) -> tf.data.Dataset:
        epoch, probabilities = (tf.convert_to_tensor(part.value) for part in (sampler.epoch, sampler.probabilities))
        order = source.order(order_key(seed, TRAIN_ORDER), epoch, steps, batch_size)
        key = order_key(seed, VALIDATION_ORDER)
        validation_order = shuffled_passes(len(validation), steps, validation_batch_size, key, epoch)
        both = tf.data.Dataset.zip((order, tf.data.Dataset.from_tensor_slices(validation_order)))
        parts = both.skip(first_step).flat_map(lambda *batch: share.parts(batch))
        parts = parts.map(lambda batch, v: (epoch, probabilities, batch, v))
        return map_elsewhere(parts, load, services) if services else parts

    def load(epoch, probabilities, batch, validation_indices):
        draws, images, labels = source.load(batch, times, seed, epoch)
        images, pairs, magnitudes = augment(images, draws, seed, epoch, probabilities, augmentation)
        return {"images": images, "pairs": pairs, "magnitudes": magnitudes}, labels, validation_indices

    def join(inputs, labels, validation_indices):
        chosen = (tf.gather(array, validation_indices) for array in judges)
        return {**inputs, **dict(zip(("validation_images", "validation_labels"), chosen, strict=True))}, labels

    def make(share: Share) -> tf.data.Dataset:
        parts = tf.data.Dataset.range(1).flat_map(lambda _: epoch_of_parts(share))
        for stage in [join] if services else [load, join]:
            parts = parts.map(stage, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        count = (steps - first_step) * share.local
        return parts.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2 * share.local)

    return distribute(make, steps - first_step, strategy)


def order_key(seed: int, which: int) -> int:
    """The key of TRAIN_ORDER or VALIDATION_ORDER in a run with that seed."""
    return seed * _ORDERS + which


def _check(
    train: Examples | StreamedExamples, validation: Examples, batch_size: int, validation_batch_size: int
) -> None:
    if batch_size < 1 or validation_batch_size < 1:
        raise UserError(f"batch sizes are at least 1, not {batch_size} and {validation_batch_size}")
    if len(train) < batch_size:
        raise UserError(
            f"the batch of {batch_size} images is larger than the training set of {len(train)}; "
            f"use --config.batch_size={max(1, len(train))} or less"
        )
    if len(validation) == 0:
        raise UserError("the validation set is empty; the policy needs labelled images to be judged by")


def _check_examples(examples: Examples, classes: int | None) -> None:
    """Refuses what would end in a loss that is not finite; images of uint8 can't hold NaN."""
    images, labels = examples.images, examples.labels
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(f"images are uint8 [N, H, W, C], not {images.dtype} {list(images.shape)}")
    if len(images) != len(labels) or labels.ndim != 1:
        raise UserError(f"there are {len(images)} images and {len(labels)} labels of shape {list(labels.shape)}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels are whole numbers, the class numbers from 0, not {labels.dtype}")
    if len(labels) and (labels.min() < 0 or labels.max() >= (classes or np.inf)):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"there is a label {wrong}; labels are class numbers from 0, of {classes or 'the'} classes")
