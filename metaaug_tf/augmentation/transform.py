"""The record of a transformation, a pair of operations and two signed magnitudes: how it is drawn and embedded.

Drawing is a pure function of (seed, epoch, index of the example); applying is metaaug_tf.ops.apply_pairs.
"""

import tensorflow as tf

from metaaug_tf.augmentation.policies import POLICIES
from metaaug_tf.augmentation.random import TRANSFORMATION_STREAM, uniform_per_example
from metaaug_tf.ops import MAX_MAGNITUDE, OPERATIONS, TABLE
from metaaug_tf.ops.validation import check_magnitudes, check_pairs, check_probabilities

NUM_OPERATIONS = len(OPERATIONS)
EMBEDDING_SIZE = 2 * NUM_OPERATIONS
IDENTITY = OPERATIONS.index("Identity")


def draw_transformations(
    policy: str, probabilities, seed, epoch, indices, randaugment_magnitude: float = 9.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws a pair of operations and their magnitudes for each example.

    The result for an example depends on (seed, epoch, index) alone: not on the batch, the threads or the replica.

    How each policy draws is its row in policies.py. "uniform" draws what "metaaugment" does from equal probabilities.
    The sign of a signed operation is minus with probability 1/2.

    Args:
        policy: a name in policies.POLICIES.
        probabilities: [14, 14] float32, rows the first operation, not negative, normalised here; None where the
            policy does not learn.
        seed: scalar int, the seed of the run.
        epoch: scalar int from 0.
        indices: [B] int64 from 0 to 2**32 - 1, the position of each example in its dataset.
        randaugment_magnitude: 0 to 10.

    Returns:
        pairs [B, 2] int32 and magnitudes [B, 2] float32 in [-10, 10], negative for the minus sign.

    Raises:
        ValueError: on an unknown policy, a magnitude outside 0..10 or bad probabilities;
            tf.errors.InvalidArgumentError for probabilities only known when a graph runs.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    if not 0 <= randaugment_magnitude <= MAX_MAGNITUDE:
        raise ValueError(f"randaugment_magnitude must be from 0 to 10, got {randaugment_magnitude}")
    row = POLICIES[policy]
    table = check_probabilities(probabilities if row.learns else tf.ones([NUM_OPERATIONS, NUM_OPERATIONS]))
    # One row of five numbers in [0, 1) per example: the pair, two magnitudes, two signs.
    uniform = uniform_per_example(TRANSFORMATION_STREAM, seed, epoch, indices, 5)
    pairs = _draw_pairs(tf.cumsum(tf.reshape(table, [-1])), uniform[:, 0])
    pairs = tf.where([place < row.operations for place in range(2)], pairs, IDENTITY)
    magnitudes = MAX_MAGNITUDE * uniform[:, 1:3]
    if row.fixed_magnitude:
        magnitudes = tf.fill(tf.shape(magnitudes), float(randaugment_magnitude))
    signed = tf.gather([row.signed for row in TABLE], pairs)
    return pairs, tf.where(signed & (uniform[:, 3:] < 0.5), -magnitudes, magnitudes)


def transformation_embedding(pairs, magnitudes) -> tf.Tensor:
    """What the policy network sees of a transformation (MetaAugment, Zhou et al., arXiv 2012.12076).

    Entry j1 holds (|m1| + 1) / 11, entry 14 + j2 holds (|m2| + 1) / 11, all others 0; an operation without a magnitude
    holds 1.

    Args:
        pairs: [B, 2] int, positions in OPERATIONS.
        magnitudes: [B, 2] float32 in [-10, 10].

    Returns:
        [B, 28] float32 in [0, 1].

    Raises:
        ValueError: on other shapes or values; tf.errors.InvalidArgumentError for values only known when a graph runs.
    """
    pairs = check_pairs(pairs, shape=[None, 2])
    magnitudes = check_magnitudes(magnitudes, shape=pairs.shape)
    uses_magnitude = tf.gather([row.uses_magnitude for row in TABLE], pairs)
    strength = tf.where(uses_magnitude, (tf.abs(magnitudes) + 1.0) / (MAX_MAGNITUDE + 1.0), 1.0)
    entries = tf.one_hot(pairs, NUM_OPERATIONS) * strength[..., tf.newaxis]
    return tf.reshape(entries, [-1, EMBEDDING_SIZE])


def _draw_pairs(cumulative: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Inverts the cumulative distribution [196] float64 at uniform [B]: [B, 2] int32."""
    # In float64 uniform * total stays below the total, so a pair of probability zero at the end cannot come up.
    targets = tf.cast(uniform, tf.float64) * cumulative[-1]
    flat = tf.searchsorted(cumulative, targets, side="right")
    return tf.stack([flat // NUM_OPERATIONS, flat % NUM_OPERATIONS], axis=1)
