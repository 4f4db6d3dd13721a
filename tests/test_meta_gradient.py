"""The meta-gradient against central differences of the whole procedure, in float64."""

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma

RATE = 0.3
CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class SmoothPolicy(keras.Model):
    """A policy without kinks, so that differences of it are exact to rounding."""

    def __init__(self):
        super().__init__(dtype="float64")
        self.sample = keras.layers.Dense(5, activation="tanh", dtype="float64")
        self.transformation = keras.layers.Dense(5, activation="tanh", dtype="float64")
        self.out = keras.layers.Dense(1, activation="sigmoid", dtype="float64")

    def call(self, features, embedding):
        product = self.sample(features) * self.transformation(tf.cast(embedding, tf.float64))
        return self.out(product)[:, 0]


def data(one_hot=False):
    inputs, labels = helpers.random_batch(batch=6, validation=5)
    embedding = tf.cast(ma.transformation_embedding(inputs["pairs"], inputs["magnitudes"]), tf.float64)
    encode = (lambda y: tf.one_hot(y, 4, dtype=tf.float64)) if one_hot else tf.identity
    batch = (tf.cast(inputs["images"], tf.float64), encode(labels), embedding)
    return batch, (tf.cast(inputs["validation_images"], tf.float64), encode(inputs["validation_labels"]))


def setup(batch_norm=False, dropout=0.0, softmax=False, one_hot=False):
    task = helpers.tiny_task(dtype="float64", batch_norm=batch_norm, dropout=dropout)
    if softmax:
        task = keras.Model(task.inputs, keras.layers.Softmax(dtype="float64")(task.outputs[0]))
    keras.utils.set_random_seed(4)
    policy = SmoothPolicy()
    batch, validation = data(one_hot)
    policy(ma.MetaAugment(task, policy_network=None).features(batch[0]), batch[2])
    return task, policy, batch, validation


def procedure(task, policy, batch, validation, losses, normalise):
    """Validation loss after the virtual update, as a plain function of the policy's present variables."""
    model = ma.MetaAugment(task, policy_network=None)._task.model
    w = [tf.identity(v.value) for v in model.trainable_variables]
    state = [tf.identity(v.value) for v in model.non_trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(w)
        (predictions, features), _ = model.stateless_call(w, state, batch[0], training=True)
        raw = policy(features, batch[2])
        p = raw / tf.reduce_sum(raw) if normalise else raw / len(raw)
        total = tf.reduce_sum(tf.stop_gradient(p) * losses(batch[1], predictions))
    w_hat = [a - RATE * g for a, g in zip(w, tape.gradient(total, w), strict=True)]
    (predictions, _), _ = model.stateless_call(w_hat, state, validation[0], training=True)
    return float(tf.reduce_mean(losses(validation[1], predictions)))


def directional(policy, direction, value, h=1e-5):
    """Central difference of value() along `direction` of the policy's variables."""
    start = helpers.values_of(policy.trainable_variables)
    results = []
    for sign in (1, -1):
        for variable, x, d in zip(policy.trainable_variables, start, direction, strict=True):
            variable.assign(x + sign * h * d)
        results.append(value())
    for variable, x in zip(policy.trainable_variables, start, strict=True):
        variable.assign(x)
    return (results[0] - results[1]) / (2 * h)


def directions(policy, count=4):
    random = np.random.default_rng(1)
    return [[random.normal(size=v.shape) for v in policy.trainable_variables] for _ in range(count)]


def dot(a, b):
    return sum(float(np.sum(np.asarray(x) * np.asarray(y))) for x, y in zip(a, b, strict=True))


def check_exact(task, policy, batch, validation, loss, losses, normalise=True):
    everything = [*task.variables, *policy.variables]
    before = helpers.values_of(everything)
    gradient = ma.meta_gradient(task, policy, batch, validation, RATE, loss=loss, normalise_weights=normalise)
    for old, new in zip(before, helpers.values_of(everything), strict=True):
        np.testing.assert_array_equal(old, new)
    for direction in directions(policy):
        numeric = directional(policy, direction, lambda: procedure(task, policy, batch, validation, losses, normalise))
        assert abs(dot(gradient, direction) - numeric) < 1e-6 * abs(numeric)


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
