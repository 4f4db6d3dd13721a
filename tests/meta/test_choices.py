"""The rows of methods and weightings: found by name, free of TensorFlow, what the config allows; compile's settings."""

import dataclasses
import subprocess
import sys

import helpers
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.config import settings_table
from metaaug_tf.meta.choices import METHODS, WEIGHTINGS, MetaSettings
from metaaug_tf.meta.gradient import MetaGradient, find_method
from metaaug_tf.meta.weights import find_weighting, normalised_weights
from metaaug_tf.policy.choices import HEADS


@pytest.mark.parametrize(("rows", "find"), [(METHODS, find_method), (WEIGHTINGS, find_weighting)])
def test_every_row_leads_to_the_function_of_its_name(rows, find):
    assert [find(name).__name__ for name in rows] == list(rows)
    with pytest.raises(ma.UserError, match=f"must be one of {', '.join(rows)}, got 'best'"):
        find("best")


@pytest.mark.parametrize(
    ("setting", "names"), [("meta_gradient", METHODS), ("weighting", WEIGHTINGS), ("policy_head", HEADS)]
)
def test_the_config_allows_the_rows_and_nothing_else(setting, names):
    rule = settings_table()[setting].metadata["rule"]
    assert rule.words() == f"one of {', '.join(names)}" and all(map(rule.allows, names)) and not rule.allows("best")


def test_the_rows_are_read_without_tensorflow():
    code = "import sys, metaaug_tf.meta.choices, metaaug_tf.policy.choices; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "False", done.stderr


def no_gradient(forward, weights, variables, validation, learning_rate):
    return MetaGradient([tf.ones_like(variable) for variable in variables], tf.constant(7.0))


def test_a_new_method_is_its_function_and_a_row(monkeypatch):
    monkeypatch.setitem(sys.modules, "ones", sys.modules[__name__])
    monkeypatch.setitem(METHODS, "ones", "ones:no_gradient")
    model = ma.MetaAugment(helpers.tiny_task())
    model.compile("sgd", loss="sparse_categorical_crossentropy", meta_gradient="ones", jit_compile=False)
    assert float(model.train_step(helpers.random_batch())["meta_loss"]) == 7


def test_weights_and_weightings_by_hand():
    raw, step = tf.constant([0.1, 0.2, 0.5]), tf.constant(5, tf.int64)
    np.testing.assert_allclose(normalised_weights(raw), [0.125, 0.25, 0.625], rtol=1e-6)
    np.testing.assert_allclose(normalised_weights(raw, normalise=False), np.array([0.1, 0.2, 0.5]) / 3, rtol=1e-6)
    np.testing.assert_array_equal(find_weighting("learned")(raw, step), raw)
    np.testing.assert_allclose(find_weighting("equal")(raw, step), [0.8 / 3] * 3, rtol=1e-6)
    for step in range(4):
        order = np.argsort(tf.random.stateless_uniform([3], [7, step]))
        np.testing.assert_array_equal(find_weighting("shuffled")(raw, step), raw.numpy()[order])


def test_settings_reject_what_is_out_of_range_and_stay_as_they_are():
    for wrong in ({"meta_every": 0}, {"policy_warmup_steps": -1}, {"weighting": "best"}, {"meta_gradient": "best"}):
        with pytest.raises(ma.UserError, match=next(iter(wrong))):
            MetaSettings(**wrong)
    with pytest.raises(dataclasses.FrozenInstanceError):
        MetaSettings().meta_every = 2


def test_compile_passes_what_is_no_setting_on_to_keras():
    model = ma.MetaAugment(helpers.tiny_task())
    model.compile("sgd", loss="mse", meta_every=3, jit_compile=False, steps_per_execution=4)
    assert model.compile_settings == MetaSettings(meta_every=3, jit_compile=False) and model.steps_per_execution == 4
    with pytest.raises(TypeError, match="meta_evry"):
        model.compile("sgd", loss="mse", meta_evry=3)
