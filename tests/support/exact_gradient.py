"""The meta-gradient by central differences in float64, independent of the package's way to it."""

import helpers
import keras
import numpy as np
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.tasks.features import with_features

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
    model = with_features(task)
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
