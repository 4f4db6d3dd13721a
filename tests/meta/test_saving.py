"""model.save and keras.models.load_model: everything comes back and training resumes as if never saved."""

import subprocess
import sys

import helpers
import keras
import numpy as np
import pytest

import metaaug_tf as ma
from metaaug_tf.meta.gradient import last_block

TRAIN, VALIDATION = helpers.random_examples(24, 0), helpers.random_examples(8, 1)


def built(**settings):
    keras.utils.set_random_seed(3)
    sampler = ma.PairSampler(history_epochs=2, epsilon=0.3)
    model = ma.MetaAugment(helpers.tiny_task(batch_norm=True), ma.PolicyNetwork(9, "additive"), sampler, **settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    own = {"meta_gradient": "last_block", "meta_every": 2, "normalise_weights": False, "inner_learning_rate": 0.3}
    optimizers = keras.optimizers.SGD(0.05, momentum=0.9), keras.optimizers.Adam(0.02)
    model.compile(*optimizers, loss=loss, metrics=["accuracy"], jit_compile=False, **own)
    return model


def train(model, epochs):
    data = ma.training_dataset(TRAIN, VALIDATION, model.sampler, batch_size=8, seed=1)
    model.fit(data, epochs=epochs, verbose=0)


@pytest.mark.long
def test_training_resumes_from_the_file_as_if_never_saved(tmp_path):
    model = built(name="birds")
    train(model, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(VALIDATION.images, verbose=0), model.predict(VALIDATION.images, verbose=0)
    )
    assert loaded.name == "birds" and loaded.sampler.history_epochs == 2 and loaded.sampler.epsilon == 0.3
    assert loaded.policy_network.head == "additive" and loaded.meta_step.method is last_block
    assert loaded.compile_settings == model.compile_settings
    for both in (model, loaded):
        train(both, 2)
    for group in (lambda m: m.variables, lambda m: m.optimizer.variables, lambda m: m.policy_optimizer.variables):
        for mine, theirs in zip(helpers.values_of(group(model)), helpers.values_of(group(loaded)), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert int(loaded.policy_optimizer.iterations.numpy()) == 6  # every second of 12 steps


@pytest.mark.parametrize("policy", [{"policy_network": None}, {}], ids=["no policy", "default"])
def test_a_model_that_is_not_compiled_comes_back_with_its_layer_of_features(tmp_path, policy):
    task = helpers.tiny_task()
    model = ma.MetaAugment(task, **policy, feature_layer=task.layers[2].name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.compiled and (loaded.policy_network is None) == bool(policy)
    assert loaded.feature_width == model.feature_width == 4
    np.testing.assert_array_equal(loaded.features(VALIDATION.images), model.features(VALIDATION.images))


@pytest.mark.long
def test_weights_alone_can_be_saved(tmp_path):
    model, other = built(), built()
    train(model, 1)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for mine, theirs in zip(helpers.values_of(model.variables), helpers.values_of(other.variables), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.long
def test_another_process_loads_the_file(tmp_path):
    model = built()
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", VALIDATION.images)
    code = """
import keras, numpy
import metaaug_tf
print(keras.models.load_model("model.keras").predict(numpy.load("images.npy"), verbose=0).tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.array(eval(done.stdout.splitlines()[-1]))
    np.testing.assert_allclose(found, model.predict(VALIDATION.images, verbose=0), atol=1e-6)
