"""Stopping at a loss that is not finite, and warnings of collapsed weights."""

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.callbacks.health_guard import HealthGuard
from metaaug_tf.meta.health import Extreme, effective_sample_fraction


def test_training_stops_at_the_step_that_is_not_finite():
    task = helpers.tiny_task()
    model = ma.MetaAugment(task, policy_network=None)
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    good, bad = helpers.random_batch(), helpers.random_batch()
    images = tf.cast(bad[0]["images"], tf.float32)
    good[0]["images"], bad[0]["images"] = images, images * np.nan
    dataset = tf.data.Dataset.range(4).map(lambda i: tf.cond(i == 2, lambda: bad, lambda: good))
    with pytest.raises(ma.UserError, match="step 3 of epoch 1"):
        model.fit(dataset, epochs=2, verbose=0, callbacks=[HealthGuard()])


def watch(fractions, largest, epoch=7):
    """Shows a guard one epoch of steps with these effective sample sizes, as running means, which is what fit logs."""
    guard = HealthGuard()
    guard.on_epoch_begin(epoch)
    for batch, mean in enumerate(np.cumsum(fractions) / np.arange(1, len(fractions) + 1)):
        guard.on_train_batch_end(batch, {"loss": 1.0, "effective_sample_size": mean, "weight_max": largest})


def test_collapse_is_reported_once_with_its_step():
    with pytest.warns(UserWarning, match="collapsed at step 3 of epoch 8 .*batch 0.010") as reported:
        watch([0.8, 0.7, 0.01, 0.01], 0.9)
    assert len(reported) == 1
    with pytest.warns(UserWarning, match="step 1 of epoch 1 .*largest weight 0.0002"):
        watch([0.9, 0.9], 2e-4, epoch=0)


def test_healthy_weights_are_not_reported(recwarn):
    watch([0.6, 0.3, 0.6], 0.9)
    assert not recwarn.list


def test_extremes_over_batches_by_hand():
    smallest, largest = Extreme("low", largest=False), Extreme("high", largest=True)
    for values in ([0.4, 0.7], [0.2, 0.3]):
        for metric in (smallest, largest):
            metric.update_state(tf.constant(values))
    assert float(smallest.result()) == pytest.approx(0.2) and float(largest.result()) == pytest.approx(0.7)
    smallest.reset_state()
    assert float(smallest.result()) == np.inf


def test_effective_sample_fraction_by_hand():
    assert float(effective_sample_fraction(tf.constant([0.5, 0.5, 0.5, 0.5]))) == pytest.approx(1)
    assert float(effective_sample_fraction(tf.constant([1.0, 0.0, 0.0, 0.0]))) == pytest.approx(0.25)
    assert float(effective_sample_fraction(tf.constant([3.0, 1.0]))) == pytest.approx(16 / 20)
