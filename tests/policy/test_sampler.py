"""The sampler's arithmetic by hand, and how a model moves it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import random_examples, tiny_task

import metaaug_tf as ma
from metaaug_tf.policy.sampler import initial_probabilities, pair_probabilities


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


def test_observe_adds_each_weight_to_the_cell_of_its_pair():
    sampler = ma.PairSampler(history_epochs=2)
    sampler.observe(tf.constant([[0, 1], [1, 0], [0, 1], [13, 5]]), tf.constant([0.1, 0.2, 0.4, 0.8]))
    sampler.observe(tf.constant([[13, 5], [2, 2]]), tf.constant([0.05, 0.3]))
    sums, counts = np.zeros((2, 2, 14, 14))
    sums[0, 0, 1], sums[0, 1, 0], sums[0, 13, 5], sums[0, 2, 2] = 0.5, 0.2, 0.85, 0.3
    counts[0, 0, 1], counts[0, 1, 0], counts[0, 13, 5], counts[0, 2, 2] = 2, 1, 2, 1
    np.testing.assert_allclose(sampler.weight_sums.numpy(), sums, rtol=1e-6)
    np.testing.assert_array_equal(sampler.counts.numpy(), counts)


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


def test_identity_in_the_initial_distribution_by_hand():
    table = initial_probabilities(identity_odds=13)
    np.testing.assert_allclose(table[-1, -1], 1 / 4)
    np.testing.assert_allclose(table[-1, :-1], 1 / 2 / 26)
    np.testing.assert_allclose(table[:-1, :-1], 1 / 26**2)
    assert (initial_probabilities() == 1 / 196).all()


def test_mean_weights_act_on_the_initial_distribution_as_factors():
    sampler = ma.PairSampler(history_epochs=1, epsilon=0.1, identity_odds=13)
    initial = initial_probabilities(13)
    np.testing.assert_allclose(sampler.probabilities.numpy(), initial, rtol=1e-6)
    observe(sampler, (13, 13), [0.2])
    sampler.end_epoch()
    rest = 1 - 1 / 4 + 0.2 / 4  # pairs that are not seen count as 1
    np.testing.assert_allclose(sampler.probabilities.numpy()[13, 13], 0.9 * 0.2 / 4 / rest + 0.1 / 4, rtol=1e-6)
    np.testing.assert_allclose(sampler.probabilities.numpy()[0, 13], (0.9 / rest + 0.1) / 52, rtol=1e-6)
    copy = ma.PairSampler.from_config(sampler.get_config())
    np.testing.assert_array_equal(copy.initial, initial)


def test_the_default_policy_network_has_the_samplers_odds():
    model = ma.MetaAugment(tiny_task(), sampler=ma.PairSampler(identity_odds=5.0))
    assert model.policy_network.identity_odds == 5.0


def test_a_policy_network_of_other_odds_is_rejected():
    sampler = ma.PairSampler(identity_odds=13.0)
    with pytest.raises(ma.UserError, match="has identity_odds=1, the sampler 13; give both the same"):
        ma.MetaAugment(tiny_task(), ma.PolicyNetwork(), sampler)
    ma.MetaAugment(tiny_task(), ma.PolicyNetwork(head="additive"), sampler)  # takes no mean over the pairs


@pytest.mark.parametrize("odds", [0, 101, np.nan])
def test_odds_out_of_range(odds):
    with pytest.raises(ma.UserError, match="identity_odds must be from 0.01 to 100"):
        ma.PairSampler(identity_odds=odds)


@pytest.mark.parametrize("arguments", [{"history_epochs": 0}, {"epsilon": -0.1}, {"epsilon": 1.1}])
def test_settings_out_of_range(arguments):
    with pytest.raises(ma.UserError, match="history_epochs >= 1"):
        ma.PairSampler(**arguments)


class Recorder(keras.callbacks.Callback):
    """Notes the sampler's epoch at each end of an epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(int(self.model.sampler.epoch.numpy()))


@pytest.mark.parametrize("how", ["alone", "list", "with an update", "CallbackList", "CallbackList with an update"])
def test_fit_updates_the_sampler_once_and_before_the_callbacks_given(how):
    task = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
    model, recorder = ma.MetaAugment(task, policy_network=None), Recorder()
    model.compile("sgd", loss="sparse_categorical_crossentropy", jit_compile=False)
    callbacks = [ma.SamplerUpdate(), recorder] if "update" in how else [recorder]
    if "CallbackList" in how:
        callbacks = keras.callbacks.CallbackList(callbacks, add_history=True, model=model)
    data = ma.training_dataset(random_examples(8, 0), random_examples(4, 1), model.sampler, batch_size=4)
    model.fit(data, epochs=2, verbose=0, callbacks=recorder if how == "alone" else callbacks)
    assert recorder.seen == [1, 2]
