"""Which part of every global batch an input pipeline makes, where several devices or machines train together."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError


@dataclass(frozen=True)
class InputShard:
    """The parts of one worker's replicas.

    Attributes:
        replicas: number of equal parts a batch is cut into, one for each replica.
        first: index of the part of this worker's first replica.
        local: number of parts from there on that are this worker's.
    """

    replicas: int = 1
    first: int = 0
    local: int = 1

    def parts(self, batch) -> tf.data.Dataset:
        """This worker's parts of a batch, one after the other.

        Args:
            batch: a nest of tensors [B]; `replicas` divides each B.

        Returns:
            `local` times the nest, of tensors [B / replicas].
        """

        def part(index):
            return tf.nest.map_structure(lambda column: tf.reshape(column, [self.replicas, -1])[index], batch)

        return tf.data.Dataset.range(self.first, self.first + self.local).map(part)


def distribute(
    make: Callable[[InputShard], tf.data.Dataset], steps: int, strategy: tf.distribute.Strategy | None
) -> tf.data.Dataset:
    """The dataset of all shards together, as fit takes it.

    Args:
        make: the dataset of a shard, `local` elements a step.
        steps: number of steps.
        strategy: None, or one of a single replica, makes the whole.
    """
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return make(InputShard()).with_options(sharded_by_example())

    def make_for(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = context.num_replicas_in_sync // context.num_input_pipelines
        return make(InputShard(context.num_replicas_in_sync, context.input_pipeline_id * local, local))

    dataset = strategy.distribute_datasets_from_function(make_for)
    # Keras takes this for the number of steps, but TensorFlow has counted an element for each replica.
    dataset._cardinality = np.int64(steps)
    return dataset


def sharded_by_example() -> tf.data.Options:
    """What keeps fit from sharding by file, where it distributes whole batches itself: batches would be others then."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options


def check_divisible(sizes: dict[str, int], replicas: int) -> None:
    """Rejects batches that replicas can't share evenly.

    Args:
        sizes: of batches, by name.
        replicas: number of replicas that share them.

    Raises:
        UserError: names each, with the sizes next to it that do.
    """
    faults = []
    for name, size in sizes.items():
        if rest := size % replicas:
            possible = [str(near) for near in (size - rest, size - rest + replicas) if near]
            faults.append(
                f"--config.{name} must be a multiple of the {replicas} devices, got {size}; use {' or '.join(possible)}"
            )
    if faults:
        raise UserError("\n".join(faults))
