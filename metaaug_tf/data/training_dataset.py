"""Training batches in four stages, as a pure function of (seed, epoch, position): choose, augment, add validation, cut.

The sampler is the clock of the run: its `epoch` seeds every random choice, and its table is read when an epoch begins.
"""

from dataclasses import dataclass

import tensorflow as tf

from metaaug_tf.augmentation.augment import augment
from metaaug_tf.augmentation.batch import TrainingInputs
from metaaug_tf.data.examples import Examples, LabelledImages
from metaaug_tf.data.input_shard import InputShard, check_divisible, distribute
from metaaug_tf.data.service import map_elsewhere, reachable_services
from metaaug_tf.data.shuffling import TRAIN_ORDER, VALIDATION_ORDER, order_key, shuffled_passes
from metaaug_tf.errors import UserError
from metaaug_tf.policy.sampler import PairSampler
from metaaug_tf.settings import Augmentation


def training_dataset(
    train: LabelledImages,
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
    """One epoch of batches for MetaAugment.fit, drawn again each time it is iterated.

    The epoch's index and the table of pairs are read from `sampler` when the iteration starts. What an image
    becomes depends on (seed, epoch, its index) alone, not on threads, replicas or restarts; a last batch that is
    not full is left out. Batch v of the validation images follows batch v - 1 in an endless shuffled stream.

    With a strategy of several replicas each of them gets its part of every batch, and each worker makes the parts of
    its own replicas only; together they are the batches of one device.

    Args:
        train: examples to learn from, in memory or in files.
        validation: examples for the meta-gradient; they are not augmented.
        sampler: the model's.
        batch_size: training images a step, at most len(train).
        validation_batch_size: validation images a step; more than there are = all of them.
        seed: the run's.
        first_step: leaves out the epoch's first steps (by index, nothing is decoded), to resume after a restart.
        classes: number of classes; where given, labels beyond it are rejected.
        augmentation: what is done to training images; by default Augmentation(), with crop and flip.
        data_service: tf.data services that make the batches instead of this process, as HOST:PORT,HOST2:PORT (see
            data/service.py); the batches are the same.
        strategy: of tf.distribute, the model's. Without it fit distributes whole batches, which every worker makes.

    Returns:
        Finite dataset (for several replicas a tf.distribute.DistributedDataset) of known length of
        (TrainingInputs, labels int32 [B]).

    Raises:
        UserError: a batch larger than the training set, an empty set, images that are not uint8, labels that are
            no class, a service that does not answer, batches that the replicas can't share evenly.
    """
    _check(train, validation, batch_size, validation_batch_size, classes)
    validation_batch_size = min(validation_batch_size, len(validation))
    if strategy is not None:
        sizes = {"batch_size": batch_size, "validation_batch_size": validation_batch_size}
        check_divisible(sizes, strategy.num_replicas_in_sync)
    steps = len(train) // batch_size
    stages = _Stages(
        train,
        validation,
        sampler,
        batch_size,
        validation_batch_size,
        seed,
        steps,
        first_step,
        augmentation or Augmentation(),
    )
    services = reachable_services(data_service)
    return distribute(lambda shard: _assembled(stages, shard, services), steps - first_step, strategy)


@dataclass(frozen=True)
class _Stages:
    """The stages of an epoch; each takes what the one before it gives."""

    train: LabelledImages
    validation: Examples
    sampler: PairSampler
    batch_size: int
    validation_batch_size: int
    seed: int
    steps: int
    first_step: int
    augmentation: Augmentation

    def choose(self, shard: InputShard) -> tf.data.Dataset:
        """Stage 1: which images are in each of the shard's parts of a batch, with the epoch's index and table."""
        epoch, table = (tf.convert_to_tensor(part.value) for part in (self.sampler.epoch, self.sampler.probabilities))
        order = self.train.order(order_key(self.seed, TRAIN_ORDER), epoch, self.steps, self.batch_size)
        key = order_key(self.seed, VALIDATION_ORDER)
        validation = shuffled_passes(len(self.validation), self.steps, self.validation_batch_size, key, epoch)
        both = tf.data.Dataset.zip((order, tf.data.Dataset.from_tensor_slices(validation)))
        parts = both.skip(self.first_step).flat_map(lambda *batch: shard.parts(batch))
        return parts.map(lambda batch, chosen: (epoch, table, batch, chosen))

    def augment(self, epoch, table, batch, validation_indices):
        """Stage 2: loads and augments the training images; the costly one, which a tf.data service may do."""
        times = self.augmentation.transforms_per_sample
        draws, images, labels = self.train.load(batch, times, self.seed, epoch)
        augmented = augment(images, draws, self.seed, epoch, table, self.augmentation)
        indices = tf.cast(draws % len(self.train), tf.int32)
        return augmented, labels, indices, validation_indices

    def add_validation(self, augmented, labels, indices, validation_indices):
        """Stage 3: the whole batch."""
        images, pairs, magnitudes = augmented
        validation_images, validation_labels = self.validation.tensors
        inputs = TrainingInputs(
            images=images,
            pairs=pairs,
            magnitudes=magnitudes,
            validation_images=tf.gather(validation_images, validation_indices),
            validation_labels=tf.gather(validation_labels, validation_indices),
            indices=indices,
        )
        return inputs, labels


def _assembled(stages: _Stages, shard: InputShard, services: list[str]) -> tf.data.Dataset:
    """The stages in a row; the outer flat_map makes the sampler be read when an iteration starts."""

    def chosen(_):
        parts = stages.choose(shard)
        return map_elsewhere(parts, stages.augment, services) if services else parts

    parts = tf.data.Dataset.range(1).flat_map(chosen)
    for stage in [stages.add_validation] if services else [stages.augment, stages.add_validation]:
        parts = parts.map(stage, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    count = (stages.steps - stages.first_step) * shard.local
    return parts.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2 * shard.local)


def _check(
    train: LabelledImages, validation: Examples, batch_size: int, validation_batch_size: int, classes: int | None
) -> None:
    for examples in (train, validation):
        examples.check(classes)
    for name, size in (("batch_size", batch_size), ("validation_batch_size", validation_batch_size)):
        if size < 1:
            raise UserError(f"{name} must be at least 1, got {size}")
    if len(train) < batch_size:
        raise UserError(
            f"batch_size must be at most the {len(train)} training images, got {batch_size}; use "
            f"--config.batch_size={max(1, len(train))} or less"
        )
    if len(validation) == 0:
        raise UserError("the validation set is empty; the policy needs labelled images to learn from")
