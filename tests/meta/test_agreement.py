"""meta_gradient_agreement: each method beside the exact one, at a model's present variables."""

import helpers
import keras
import numpy as np
import pytest

import metaaug_tf as ma

LEARNING_RATE = 0.1


def test_agreement_of_the_methods():
    keras.utils.set_random_seed(2)
    model, batch = ma.MetaAugment(helpers.tiny_task(), ma.PolicyNetwork(hidden_units=7)), helpers.random_batch()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss=loss, meta_gradient="last_block", jit_compile=False)
    before = helpers.values_of(model.variables)
    rows = ma.meta_gradient_agreement(model, batch)
    assert set(rows) == {"finite_difference", "last_block"}
    inputs, labels = batch
    embedding = ma.transformation_embedding(inputs["pairs"], inputs["magnitudes"])
    exact, cheap = (
        np.concatenate(
            [
                gradient.numpy().ravel()
                for gradient in ma.meta_gradient(
                    model.task,
                    model.policy_network,
                    (inputs["images"], labels, embedding),
                    (inputs["validation_images"], inputs["validation_labels"]),
                    LEARNING_RATE,
                    method=method,
                )
            ]
        )
        for method in ("exact", "finite_difference")
    )
    wanted = exact @ cheap / np.linalg.norm(exact) / np.linalg.norm(cheap)
    assert rows["finite_difference"]["cosine"] == pytest.approx(wanted, abs=1e-5)
    assert wanted > 0.99
    error = np.linalg.norm(cheap - exact) / np.linalg.norm(exact)
    assert rows["finite_difference"]["relative_error"] == pytest.approx(error, abs=1e-3)
    for old, new in zip(before, helpers.values_of(model.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ma.UserError, match="policy network"):
        ma.meta_gradient_agreement(ma.MetaAugment(helpers.tiny_task(), policy_network=None), batch)


def test_sample_weights_count_in_every_method():
    keras.utils.set_random_seed(2)
    model, (inputs, labels) = ma.MetaAugment(helpers.tiny_task()), helpers.random_batch()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss=loss, jit_compile=False)
    rows = ma.meta_gradient_agreement(model, (inputs, labels, np.array([0.1, 3, 1, 0.2, 2, 0.5], np.float32)))
    assert rows["finite_difference"]["cosine"] > 0.99 and rows["finite_difference"]["relative_error"] < 0.1
