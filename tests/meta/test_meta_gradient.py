"""The meta-gradient against central differences of the whole procedure, in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from exact_gradient import CE, RATE, SmoothPolicy, check_exact, data, dot, setup

import metaaug_tf as ma


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("layers", [{}, {"batch_norm": True}, {"dropout": 0.3}, {"batch_norm": True, "dropout": 0.3}])
def test_exact_equals_central_differences(layers, normalise):
    def losses(labels, logits):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    check_exact(*setup(**layers), CE, losses, normalise)


def smoothed(labels, probabilities):
    labels = 0.9 * labels + 0.1 / 4
    return -tf.reduce_sum(labels * tf.math.log(probabilities), axis=-1)


LOSSES = {
    "label smoothing": (keras.losses.CategoricalCrossentropy(label_smoothing=0.1), smoothed, True),
    "probabilities": ("categorical_crossentropy", lambda y, q: -tf.reduce_sum(y * tf.math.log(q), -1), True),
    "squared error": ("mean_squared_error", lambda y, q: tf.reduce_mean((y - q) ** 2, axis=-1), False),
    "Huber": (
        keras.losses.Huber(delta=10.0),
        lambda y, q: tf.reduce_mean(0.5 * (y - q) ** 2, axis=-1),
        False,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_exact_for_other_losses(name):
    loss, losses, softmax = LOSSES[name]
    check_exact(*setup(softmax=softmax, one_hot=True), loss, losses)


@pytest.mark.parametrize("layers", [{}, {"batch_norm": True}, {"dropout": 0.3}])
@pytest.mark.parametrize("normalise", [True, False])
def test_finite_difference_is_close_to_exact(layers, normalise):
    arguments = setup(**layers)
    exact, difference = (
        ma.meta_gradient(*arguments, RATE, method=method, loss=CE, normalise_weights=normalise)
        for method in ("exact", "finite_difference")
    )
    norms = np.sqrt(dot(exact, exact)), np.sqrt(dot(difference, difference))
    error = np.sqrt(sum(float(np.sum((a.numpy() - b.numpy()) ** 2)) for a, b in zip(exact, difference, strict=True)))
    assert error / norms[0] < 5e-2
    assert dot(exact, difference) / (norms[0] * norms[1]) > 0.999


def test_last_block_is_exact_where_the_rest_is_frozen():
    task, policy, batch, validation = setup(batch_norm=True)
    block = ma.meta_gradient(task, policy, batch, validation, RATE, method="last_block", loss=CE)
    whole = ma.meta_gradient(task, policy, batch, validation, RATE, loss=CE)
    with_kernel = [layer for layer in task.layers if getattr(layer, "kernel", None) is not None]
    assert len(with_kernel) == 3  # so for this network the last block is everything
    for a, b in zip(block, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_last_block_of_a_deeper_network_equals_central_differences_of_the_partial_update():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 3), dtype="float64")
    x = keras.layers.Rescaling(1 / 255, dtype="float64")(inputs)
    for _ in range(3):
        x = keras.layers.Conv2D(4, 3, activation="tanh", dtype="float64")(x)
    x = keras.layers.Flatten(dtype="float64")(x)
    task = keras.Model(inputs, keras.layers.Dense(4, dtype="float64")(x))
    policy = SmoothPolicy()
    batch, validation = data()
    policy(tf.zeros((6, 16), tf.float64), batch[2])
    found = ma.meta_gradient(task, policy, batch, validation, RATE, method="last_block", loss=CE)
    for layer in task.layers[:3]:
        layer.trainable = False  # the first convolution; then exact moves just the last block
    wanted = ma.meta_gradient(task, policy, batch, validation, RATE, loss=CE)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_bad_arguments():
    task, policy, batch, validation = setup()
    with pytest.raises(ma.UserError, match="exact, finite_difference, last_block"):
        ma.meta_gradient(task, policy, batch, validation, RATE, method="forward")
    with pytest.raises(ma.UserError, match="validation batch is empty"):
        ma.meta_gradient(task, policy, batch, (validation[0][:0], validation[1][:0]), RATE)
    with pytest.raises(ma.UserError, match="one loss"):
        ma.meta_gradient(task, policy, batch, validation, RATE, loss=["mse", "mae"])


def test_inside_a_tf_function_it_is_the_same():
    task, policy, batch, validation = setup()
    eager = ma.meta_gradient(task, policy, batch, validation, RATE, loss=CE)
    compiled = tf.function(lambda: ma.meta_gradient(task, policy, batch, validation, RATE, loss=CE))()
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
