"""The record of a transformation: draws that depend on (seed, epoch, index) alone, and their embedding."""

import numpy as np
import pytest
import tensorflow as tf

from metaaug_tf.augmentation import transform
from metaaug_tf.augmentation.transform import POLICIES, draw_transformations, transformation_embedding
from metaaug_tf.ops import OPERATIONS, TABLE

UNIFORM = np.full((14, 14), 1 / 196, np.float32)
MANY = np.arange(20_000)
SIGNED = np.array([row.signed for row in TABLE])


def draw(policy, indices=MANY, seed=1, epoch=0, probabilities=UNIFORM, **settings):
    pairs, magnitudes = draw_transformations(policy, probabilities, seed, epoch, indices, **settings)
    return pairs.numpy(), magnitudes.numpy()


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_evenly_spread(counts):
    """Chi-squared: 5 standard deviations above its mean at most."""
    expected = counts.mean()
    freedom = counts.size - 1
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("policy", POLICIES)
def test_draws_do_not_depend_on_the_batch(policy):
    whole = draw(policy, MANY[:100])
    one_by_one = [draw(policy, MANY[i : i + 1]) for i in range(100)]
    assert_same(whole, [np.concatenate(part) for part in zip(*one_by_one, strict=True)])
    order = np.random.default_rng(0).permutation(100)
    assert_same([part[order] for part in whole], draw(policy, order))


@pytest.mark.parametrize("parallel_calls", [1, 8])
def test_draws_in_a_dataset_are_the_eager_ones(parallel_calls):
    dataset = tf.data.Dataset.range(2000).batch(96)
    dataset = dataset.map(
        lambda indices: draw_transformations("metaaugment", UNIFORM, 1, 0, indices), num_parallel_calls=parallel_calls
    )
    parts = zip(*dataset.as_numpy_iterator(), strict=True)
    assert_same(draw("metaaugment", MANY[:2000]), [np.concatenate(part) for part in parts])


def test_draws_under_xla_and_with_tensor_seeds_are_the_eager_ones():
    compiled = tf.function(
        lambda seed, epoch, indices: draw_transformations("uniform", None, seed, epoch, indices), jit_compile=True
    )
    result = compiled(tf.constant(7), tf.constant(3, tf.int64), tf.constant(MANY[:300]))
    assert_same(draw("uniform", MANY[:300], 7, 3), [part.numpy() for part in result])


def test_draws_differ_between_images_epochs_and_seeds():
    runs = [
        draw("uniform", MANY[:5000], seed, epoch) for seed, epoch in [(1, 0), (1, 1), (2, 0), (2**31, 0), (0, 2**20)]
    ]
    for pairs, magnitudes in runs:
        assert len(np.unique(np.abs(magnitudes))) > 9980
        assert len(np.unique(pairs, axis=0)) == 196
    for i, (pairs, magnitudes) in enumerate(runs):
        for other_pairs, other_magnitudes in runs[:i]:
            assert (pairs == other_pairs).all(1).mean() < 0.02
            correlation = np.corrcoef(np.abs(magnitudes[:, 0]), np.abs(other_magnitudes[:, 0]))[0, 1]
            assert abs(correlation) < 5 / np.sqrt(5000)


def test_uniform_pairs_magnitudes_and_signs_are_evenly_spread():
    pairs, magnitudes = draw("uniform")
    assert_evenly_spread(np.bincount(pairs[:, 0] * 14 + pairs[:, 1], minlength=196))
    for position in range(2):
        assert_evenly_spread(np.histogram(np.abs(magnitudes[:, position]), 20, (0, 10))[0])
    signed = SIGNED[pairs]
    assert (magnitudes[~signed] >= 0).all()
    assert_evenly_spread(np.array([(magnitudes[signed] < 0).sum(), (magnitudes[signed] > 0).sum()]))
    assert abs(np.corrcoef(np.abs(magnitudes).T)[0, 1]) < 5 / np.sqrt(len(MANY))


def test_equal_probabilities_are_the_uniform_policy():
    assert_same(draw("metaaugment", probabilities=UNIFORM * 5), draw("uniform", probabilities=None))


def test_pairs_follow_the_probabilities():
    probabilities = np.random.default_rng(3).random((14, 14)).astype(np.float32) ** 3
    probabilities[2] = probabilities[:, 5] = 0
    pairs, _ = draw("metaaugment", probabilities=probabilities)
    counts = np.bincount(pairs[:, 0] * 14 + pairs[:, 1], minlength=196).reshape(14, 14)
    expected = len(MANY) * probabilities / probabilities.sum()
    assert (counts[probabilities == 0] == 0).all()
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected) + 1).all()


@pytest.mark.parametrize("only", [(0, 0), (4, 9), (13, 13)])
def test_one_certain_pair(only):
    probabilities = np.zeros((14, 14), np.float32)
    probabilities[only] = 0.3
    assert (draw("metaaugment", MANY[:2000], probabilities=probabilities)[0] == only).all()


def test_randaugment():
    pairs, magnitudes = draw("randaugment")
    assert_evenly_spread(np.bincount(pairs[:, 0] * 14 + pairs[:, 1], minlength=196))
    assert (np.abs(magnitudes) == 9).all()
    assert set(magnitudes[SIGNED[pairs]]) == {-9.0, 9.0}
    assert (np.abs(draw("randaugment", MANY[:50], randaugment_magnitude=4.5)[1]) == 4.5).all()


def test_trivialaugment():
    pairs, magnitudes = draw("trivialaugment")
    assert (pairs[:, 1] == OPERATIONS.index("Identity")).all()
    assert_evenly_spread(np.bincount(pairs[:, 0], minlength=14))
    assert_evenly_spread(np.histogram(np.abs(magnitudes[:, 0]), 20, (0, 10))[0])


def test_none_is_identity_twice():
    assert (draw("none", MANY[:500])[0] == OPERATIONS.index("Identity")).all()


def test_embedding_by_hand():
    rotate, color, equalize = (OPERATIONS.index(name) for name in ("Rotate", "Color", "Equalize"))
    result = transformation_embedding([[rotate, color], [equalize, rotate]], [[-10.0, 4.5], [7.0, 0.0]]).numpy()
    expected = np.zeros((2, 28), np.float32)
    expected[0, rotate], expected[0, 14 + color] = 1.0, 0.5
    expected[1, equalize], expected[1, 14 + rotate] = 1.0, 1 / 11
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)


def test_bad_input():
    with pytest.raises(ValueError, match="policy must be one of metaaugment, .*none, got 'auto'"):
        draw("auto")
    with pytest.raises(ValueError, match="randaugment_magnitude must be from 0 to 10, got 11"):
        draw("randaugment", randaugment_magnitude=11)
    with pytest.raises(ValueError, match=r"probabilities must have shape \[14, 14\], got \(14,\)"):
        draw("metaaugment", probabilities=UNIFORM[0])
    for bad in (np.zeros_like(UNIFORM), UNIFORM * np.nan, -UNIFORM, UNIFORM * np.inf):
        with pytest.raises(ValueError, match="finite, not negative and not all zero"):
            draw("metaaugment", probabilities=bad)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not negative"):
        tf.function(lambda p: draw_transformations("metaaugment", p, 0, 0, [0]))(tf.constant(-UNIFORM))
    with pytest.raises(ValueError, match="0 to 13"):
        transformation_embedding([[0, 14]], [[0.0, 0.0]])
    with pytest.raises(ValueError, match=r"\[-10, 10\]"):
        transformation_embedding([[0, 1]], [[0.0, 11.0]])


def test_a_pair_of_probability_zero_is_never_drawn_not_even_by_the_lowest_number():
    table = np.zeros((14, 14))
    table[3, 5] = table[9, 1] = 0.5
    cumulative = tf.cumsum(tf.reshape(tf.constant(table), [-1]))
    drawn = transform._draw_pairs(cumulative, tf.constant([0.0, 0.49, 0.5, np.nextafter(1.0, 0.0, dtype=np.float32)]))
    np.testing.assert_array_equal(drawn, [[3, 5], [3, 5], [9, 1], [9, 1]])
