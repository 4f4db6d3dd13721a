"""The policy network's two heads: what they can and what they can't tell apart."""

import keras
import numpy as np
import pytest

import metaaug_tf as ma

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(4, 9)).astype("float32")
PAIRS = np.stack(np.meshgrid(range(14), range(14), indexing="ij"), -1).reshape(-1, 2).astype("int32")


def embeddings(magnitude=5.0):
    return ma.transformation_embedding(PAIRS, np.full((196, 2), magnitude, np.float32)).numpy()


def logits(policy, magnitude=5.0):
    """[4 images, 196 pairs]."""
    rows = [policy(np.repeat(FEATURES[i : i + 1], 196, axis=0), embeddings(magnitude)).numpy() for i in range(4)]
    weights = np.stack(rows).astype("float64")
    assert ((weights > 0) & (weights < 1)).all()
    return np.log(weights / (1 - weights))


def network(head, **settings):
    keras.utils.set_random_seed(0)
    return ma.PolicyNetwork(head=head, **settings)


def interaction(table):
    """What is left of [images, pairs] after the means of both are taken out."""
    return table - table.mean(0) - table.mean(1)[:, None] + table.mean()


def test_additive_head_does_not_let_sample_and_transformation_interact():
    assert np.abs(interaction(logits(network("additive")))).max() < 1e-5


def test_contrast_head_does():
    assert np.abs(interaction(logits(network("contrast")))).max() > 1e-2


def test_contrast_head_prefers_no_image_over_all_pairs():
    means = logits(network("contrast")).mean(axis=1)
    np.testing.assert_allclose(means, 0, atol=1e-5)
    assert np.abs(logits(network("additive")).mean(axis=1)).max() > 1e-2


def test_nor_over_pairs_as_the_sampler_first_draws_them():
    table = logits(network("contrast", identity_odds=13.0))
    initial = np.where(PAIRS == 13, 1 / 2, 1 / 26).prod(axis=1)
    np.testing.assert_allclose(table @ initial, 0, atol=1e-5)
    assert np.abs(table.mean(axis=1)).max() > 1e-2


def test_contrast_head_ignores_the_scale_of_the_features():
    policy = network("contrast")
    e = embeddings()[:4]
    np.testing.assert_allclose(policy(FEATURES, e), policy(100 * FEATURES, e), atol=1e-3)


def test_magnitude_matters():
    assert np.abs(logits(network("contrast"), 1.0) - logits(network("contrast"), 9.0)).max() > 1e-2


def test_unknown_head():
    with pytest.raises(ma.UserError, match="contrast, additive"):
        ma.PolicyNetwork(head="sum")


def test_config_round_trip():
    policy = ma.PolicyNetwork(hidden_units=7, head="additive", identity_odds=3.0)
    copy = ma.PolicyNetwork.from_config(policy.get_config())
    assert (copy.hidden_units, copy.head, copy.identity_odds) == (7, "additive", 3.0)
