"""The sampler's arithmetic by hand, and how a model moves it."""

import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.policy.sampler import pair_probabilities


def test_probabilities_by_hand():
    sums, counts = np.zeros((14, 14)), np.zeros((14, 14))
    sums[2, 3], counts[2, 3] = 1.0, 4  # mean 0.25; the other 195 pairs are not seen and count as 1
    table = pair_probabilities(sums, counts, epsilon=0.1)
    assert table[2, 3] == pytest.approx(0.9 * 0.25 / 195.25 + 0.1 / 196)
    assert table[3, 2] == pytest.approx(0.9 * 1 / 195.25 + 0.1 / 196)
    assert table.sum() == pytest.approx(1)


def test_epsilon_one_is_uniform_and_all_zero_weights_are_too():
    sums, counts = np.random.default_rng(0).uniform(size=(2, 14, 14))
    np.testing.assert_allclose(pair_probabilities(sums, counts, 1.0), 1 / 196)
    np.testing.assert_allclose(pair_probabilities(np.zeros((14, 14)), np.ones((14, 14)), 0.1), 1 / 196)


def observe(sampler, pair, weights):
    sampler.observe(tf.constant([pair] * len(weights)), tf.constant(weights, tf.float32))


def test_history_keeps_s_epochs():
    sampler = ma.PairSampler(history_epochs=2, epsilon=0.0)
    np.testing.assert_allclose(sampler.probabilities.numpy(), 1 / 196)
    means = []
    for weights in ([0.2, 0.4], [0.6], [0.0, 0.0, 0.9]):
        observe(sampler, (5, 7), weights)
        sampler.end_epoch()
        table = sampler.probabilities.numpy()
        means.append(table[5, 7] / table[0, 0])
    # Epochs 1; 1 and 2; 2 and 3: the first has left the history.
    np.testing.assert_allclose(means, [0.6 / 2, 1.2 / 3, 1.5 / 4], rtol=1e-5)
    assert int(sampler.epoch.numpy()) == 3


def test_an_epoch_without_the_pair_counts_as_unseen_again():
    sampler = ma.PairSampler(history_epochs=1, epsilon=0.0)
    observe(sampler, (0, 0), [0.01])
    sampler.end_epoch()
    sampler.end_epoch()
    np.testing.assert_allclose(sampler.probabilities.numpy(), 1 / 196, rtol=1e-6)


@pytest.mark.parametrize("arguments", [{"history_epochs": 0}, {"epsilon": -0.1}, {"epsilon": 1.1}])
def test_settings_out_of_range(arguments):
    with pytest.raises(ma.UserError, match="history_epochs >= 1"):
        ma.PairSampler(**arguments)
