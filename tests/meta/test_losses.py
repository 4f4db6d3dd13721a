"""Losses per sample, the loss that fits a task, and class weights, each by hand."""

import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny_task

import metaaug_tf as ma
from metaaug_tf.meta.losses import check_loss, complete_class_weight, default_loss, per_sample_loss

LOGITS = tf.constant([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
LABELS = tf.constant([0, 2])
CROSS_ENTROPY = [-np.log(np.exp(2) / (np.exp(2) + 1 + np.exp(-1))), -np.log(1 / (2 * np.exp(0.5) + 1))]


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda labels, logits: tf.nn.softmax_cross_entropy_with_logits(
            tf.one_hot(tf.cast(labels, tf.int32), 3), logits
        ),
    ],
)
def test_one_value_per_sample_without_the_reduction_of_keras(loss):
    np.testing.assert_allclose(per_sample_loss(loss)(LABELS, LOGITS), CROSS_ENTROPY, rtol=1e-6)


def test_positions_of_a_dense_output_are_averaged_per_sample():
    labels, predictions = tf.zeros([2, 2, 1]), tf.constant([[[1.0], [3.0]], [[0.0], [2.0]]])
    np.testing.assert_allclose(per_sample_loss("mean_squared_error")(labels, predictions), [5, 2])


def test_checking_a_loss_of_many_classes_takes_memory_for_the_classes_and_not_for_their_square():
    loss, classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True), 10_000
    tracemalloc.start()
    try:
        check_loss(loss, per_sample_loss(loss), keras.KerasTensor([None, classes]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1000 * classes, "bytes; a table of all pairs of classes takes 80,000 for each class"


def test_a_loss_of_the_whole_batch_is_rejected_before_training():
    def whole(labels, predictions):
        return tf.reduce_mean(predictions)

    with pytest.raises(ma.UserError, match="must return one value per sample, got one number for the whole batch"):
        check_loss(whole, per_sample_loss(whole), keras.KerasTensor([None, 3]))


def test_the_default_loss_takes_logits_unless_the_task_ends_in_a_softmax():
    logits = tiny_task()
    probabilities = keras.Model(logits.inputs, keras.layers.Softmax()(logits.outputs[0]))
    inside = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, activation="softmax")])
    assert [default_loss(task).from_logits for task in (logits, probabilities, inside)] == [True, False, False]


@pytest.mark.parametrize(
    ("given", "classes", "wanted"),
    [
        (None, 3, None),
        ({}, 2, {0: 1.0, 1: 1.0}),
        ({1: 0.5}, 3, {0: 1.0, 1: 0.5, 2: 1.0}),
        ({1: 3}, 1, {0: 1.0, 1: 3.0}),  # one output stands for two classes
    ],
)
def test_classes_without_a_weight_have_1(given, classes, wanted):
    assert complete_class_weight(given, classes) == wanted


@pytest.mark.parametrize("index", [-1, 3])
def test_a_weight_of_no_class_is_rejected(index):
    with pytest.raises(ma.UserError, match=f"keys from 0 to 2, the classes, got {index}"):
        complete_class_weight({index: 2.0}, 3)
