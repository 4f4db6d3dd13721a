"""The record of a transformation, a pair of operations and two signed magnitudes: how it is drawn and embedded.

Drawing is a pure function of (seed, epoch, index of the example); applying is metaaug_tf.ops.apply_pairs.
"""

import tensorflow as tf

from metaaug_tf.augmentation.random import TRANSFORMATION_STREAM, uniform_per_example
from metaaug_tf.ops import MAX_MAGNITUDE, OPERATIONS, TABLE
from metaaug_tf.ops.validation import check_magnitudes, check_pairs

POLICIES = ("metaaugment", "uniform", "randaugment", "trivialaugment", "none")
NUM_OPERATIONS = len(OPERATIONS)
EMBEDDING_SIZE = 2 * NUM_OPERATIONS
IDENTITY = OPERATIONS.index("Identity")


def draw_transformations(
    policy: str, probabilities, seed, epoch, indices, randaugment_magnitude: float = 9.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws a pair of operations and their magnitudes for each example.

    The result for an example depends on (seed, epoch, index) alone: not on the batch, the threads or the replica.

    - "metaaugment": the pair from `probabilities`, magnitudes uniform in [0, 10).
    - "uniform": the same with equal probabilities; equal ones in "metaaugment" give the same draws.
    - "randaugment": two operations uniform and independent, both magnitudes `randaugment_magnitude` (Cubuk et al.,
      arXiv 1909.13719, N = 2).
    - "trivialaugment": one operation uniform, its magnitude uniform in [0, 10), then Identity (Mueller and Hutter,
      arXiv 2103.10158).
    - "none": Identity twice.

    The sign of a signed operation is minus with probability 1/2.

    Args:
        policy: one of the five names above.
        probabilities: [14, 14] float32, rows the first operation, not negative, normalised here; None unless the policy
            is "metaaugment".
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
        raise ValueError(f"unknown policy {policy!r}; allowed: {', '.join(POLICIES)}")
    if not 0 <= randaugment_magnitude <= MAX_MAGNITUDE:
        raise ValueError(f"randaugment_magnitude must be in [0, 10], got {randaugment_magnitude}")
    if policy != "metaaugment":
        probabilities = tf.ones([NUM_OPERATIONS, NUM_OPERATIONS])
    cumulative = tf.cumsum(tf.reshape(_checked_probabilities(probabilities), [-1]))
    # One row of five numbers in [0, 1) per example: the pair, two magnitudes, two signs.
    uniform = uniform_per_example(TRANSFORMATION_STREAM, seed, epoch, indices, 5)
    pairs = _draw_pairs(cumulative, uniform[:, 0])
    magnitudes = MAX_MAGNITUDE * uniform[:, 1:3]
    if policy == "randaugment":
        magnitudes = tf.fill(tf.shape(magnitudes), float(randaugment_magnitude))
    keep = {"trivialaugment": [True, False], "none": [False, False]}.get(policy, [True, True])
    pairs = tf.where(keep, pairs, IDENTITY)
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


def _checked_probabilities(probabilities) -> tf.Tensor:
    shape = [NUM_OPERATIONS, NUM_OPERATIONS]
    probabilities = tf.cast(tf.convert_to_tensor(probabilities), tf.float64)
    if not probabilities.shape.is_compatible_with(shape):
        raise ValueError(f"probabilities must have shape {shape}, got {probabilities.shape}")
    total = tf.reduce_sum(probabilities)
    allowed = tf.reduce_all(probabilities >= 0) & (total > 0) & tf.math.is_finite(total)
    message = "probabilities must be finite, not negative and not all zero"
    if tf.executing_eagerly():
        if not allowed:
            raise ValueError(f"{message}, got {probabilities.numpy()}")
        return probabilities
    with tf.control_dependencies([tf.debugging.Assert(allowed, [message + ", got", probabilities])]):
        return tf.identity(probabilities)
