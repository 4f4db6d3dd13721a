"""Batches for evaluation: all examples once, in order, as they are."""

import tensorflow as tf

from metaaug_tf.data.examples import LabelledImages
from metaaug_tf.data.input_shard import sharded_by_example


def evaluation_dataset(examples: LabelledImages, batch_size: int = 256, replicas: int = 1) -> tf.data.Dataset:
    """All examples once, in order, as (images uint8 [B, H, W, C], labels int32 [B]).

    Args:
        examples: any number of them.
        batch_size: images of a replica at a time, fewer where there are not as many; the last batch may be smaller.
        replicas: number of replicas that share the batches, each then of B = batch_size * replicas images.
    """
    of_a_replica = min(batch_size, -(-len(examples) // replicas))
    return examples.in_order().batch(of_a_replica * replicas).prefetch(2).with_options(sharded_by_example())
