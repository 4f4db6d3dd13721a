"""Batches for evaluation: all examples once, in order, as they are."""

import tensorflow as tf

from metaaug_tf.data.examples import Examples
from metaaug_tf.data.input_shard import sharded_by_example
from metaaug_tf.data.streamed_examples import StreamedExamples


def evaluation_dataset(
    examples: Examples | StreamedExamples, batch_size: int = 256, replicas: int = 1
) -> tf.data.Dataset:
    """All examples once, in order, as (images uint8 [B, H, W, C], labels int32 [B]).

    Args:
        examples: of any number.
        batch_size: images for a replica at a time, fewer where there are not so many; the last batch may be smaller.
        replicas: how many will share the batches, each then of B = batch_size * replicas images.
    """
    if isinstance(examples, Examples):
        dataset = tf.data.Dataset.from_tensor_slices((examples.images, examples.labels))
    else:
        dataset = examples.in_order()
    of_a_replica = min(batch_size, -(-len(examples) // replicas))
    return dataset.batch(of_a_replica * replicas).prefetch(2).with_options(sharded_by_example())
