"""The training step against the method written out by hand on a tiny network: values, not shapes."""

from typing import NamedTuple

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma

LEARNING_RATE, POLICY_RATE = 0.1, 0.05


def compiled(task, jit_compile=False, optimizer=None, **kwargs):
    keras.utils.set_random_seed(2)
    model = ma.MetaAugment(task, ma.PolicyNetwork(hidden_units=7, evidence=()))
    model.compile(
        optimizer=optimizer or keras.optimizers.SGD(LEARNING_RATE),
        policy_optimizer=keras.optimizers.SGD(POLICY_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
        **kwargs,
    )
    return model


def cross_entropy(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def split(model, values, images):
    """Logits and features of the tiny task at given variable values, by plain TensorFlow ops."""
    k1, b1, k2, b2, dense, bias = values
    x = tf.cast(images, tf.float32) / 255
    x = tf.tanh(tf.nn.conv2d(x, k1, 2, "VALID") + b1)
    x = tf.tanh(tf.nn.conv2d(x, k2, 2, "VALID") + b2)
    features = tf.reshape(x, [len(images), -1])
    return features @ dense + bias, features


class ByHand(NamedTuple):
    policy: list  # its variables after their update
    gradient: list  # of the task's variables, for the real update
    raw: np.ndarray  # weights of the updated policy
    validation_loss: float


def by_hand(model, data, normalise=True, virtual_rate=LEARNING_RATE, weighting=lambda p: p):
    """One step of method.md on copies of the variables; the per-sample gradients are taken one by one."""
    inputs, labels = data
    task = [tf.constant(value) for value in helpers.values_of(model.task.trainable_variables)]
    policy = model.policy_network
    embedding = ma.transformation_embedding(inputs["pairs"], inputs["magnitudes"])
    features = split(model, task, inputs["images"])[1]

    def weights():
        raw = policy(features, embedding)
        return raw, raw / tf.reduce_sum(raw) if normalise else raw / len(raw)

    def sample_gradients():
        rows = []
        for i in range(len(labels)):
            with tf.GradientTape() as tape:
                tape.watch(task)
                loss = cross_entropy(labels[i : i + 1], split(model, task, inputs["images"][i : i + 1])[0])
            rows.append(tape.gradient(loss, task))
        return [tf.stack(column) for column in zip(*rows, strict=True)]

    columns = sample_gradients()
    with tf.GradientTape() as tape:
        _, p = weights()
        w_hat = [w - virtual_rate * tf.tensordot(p, g, 1) for w, g in zip(task, columns, strict=True)]
        logits = split(model, w_hat, inputs["validation_images"])[0]
        validation_loss = tf.reduce_mean(cross_entropy(inputs["validation_labels"], logits))
    gradients = tape.gradient(validation_loss, policy.trainable_variables)
    before = helpers.values_of(policy.trainable_variables)
    after = [value - POLICY_RATE * g.numpy() for value, g in zip(before, gradients, strict=True)]
    for variable, value in zip(policy.trainable_variables, after, strict=True):
        variable.assign(value)
    raw, p = weights()
    for variable, value in zip(policy.trainable_variables, before, strict=True):
        variable.assign(value)
    gradient = [tf.tensordot(tf.constant(weighting(p.numpy())), g, 1).numpy() for g in columns]
    return ByHand(after, gradient, raw.numpy(), float(validation_loss))


def assert_close(variables, values):
    for variable, value in zip(variables, values, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, atol=2e-6)


def shuffle_of_first_step(p):
    return p[np.argsort(tf.random.stateless_uniform([len(p)], [7, 0]))]


SETTINGS = {
    "as it is": ({}, {}),
    "not normalised": ({"normalise_weights": False}, {"normalise": False}),
    "virtual rate apart": ({"inner_learning_rate": 2.0}, {"virtual_rate": 2.0}),
    "equal": ({"weighting": "equal"}, {"weighting": lambda p: np.full_like(p, p.mean())}),
    "shuffled": ({"weighting": "shuffled"}, {"weighting": shuffle_of_first_step}),
}


# XLA draws other random numbers than TensorFlow, so "shuffled" is another order there.
@pytest.mark.parametrize(
    ("name", "jit_compile"), [*((name, False) for name in SETTINGS), *((name, True) for name in [*SETTINGS][:-1])]
)
def test_step_equals_the_method_by_hand(name, jit_compile):
    settings, changes = SETTINGS[name]
    model = compiled(helpers.tiny_task(), jit_compile, **settings)
    data = helpers.random_batch()
    wanted = by_hand(model, data, **changes)
    start = helpers.values_of(model.task.trainable_variables)
    step = tf.function(model.train_step, jit_compile=jit_compile)
    logs = step(data)
    moved = [w - LEARNING_RATE * g for w, g in zip(start, wanted.gradient, strict=True)]
    assert_close(model.task.trainable_variables, moved)
    assert_close(model.policy_network.trainable_variables, wanted.policy)
    assert float(logs["meta_loss"]) == pytest.approx(wanted.validation_loss, abs=1e-5)
    assert float(logs["weight_min"]) == pytest.approx(wanted.raw.min(), abs=1e-5)
    assert float(logs["weight_max"]) == pytest.approx(wanted.raw.max(), abs=1e-5)
    p = wanted.raw / wanted.raw.sum()
    assert float(logs["effective_sample_size"]) == pytest.approx(1 / (p**2).sum() / len(p), abs=1e-5)


def test_the_policy_moves_in_one_step():
    model = compiled(helpers.tiny_task())
    before = helpers.values_of(model.policy_network.trainable_variables)
    model.train_step(helpers.random_batch())
    moved = [
        np.abs(a - b).max()
        for a, b in zip(before, helpers.values_of(model.policy_network.trainable_variables), strict=True)
    ]
    assert max(moved) > 1e-7


def test_without_policy_network_the_step_is_plain_training():
    task, reference = helpers.tiny_task(), helpers.tiny_task()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = ma.MetaAugment(task, policy_network=None)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss=loss, jit_compile=False)
    reference.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss=loss)
    for seed in range(3):
        inputs, labels = helpers.random_batch(seed=seed)
        model.train_step((inputs, labels))
        reference.train_on_batch(inputs["images"], labels)
    for found, wanted in zip(helpers.values_of(task.variables), helpers.values_of(reference.variables), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_batch_norm_statistics_change_once_and_by_the_training_batch():
    model = compiled(helpers.tiny_task(batch_norm=True))
    inputs, labels = helpers.random_batch()
    layer = next(layer for layer in model.task.layers if isinstance(layer, keras.layers.BatchNormalization))
    before = layer.moving_mean.numpy()
    convolution = keras.Model(model.task.inputs, layer.input)
    batch_mean = convolution(inputs["images"]).numpy().mean(axis=(0, 1, 2))
    model.train_step((inputs, labels))
    np.testing.assert_allclose(layer.moving_mean.numpy(), before + 0.01 * (batch_mean - before), atol=1e-6)


def test_dropout_draws_once_per_step():
    """Keras counts draws in a seed's second number; the passes of a step see the same mask."""
    model = compiled(helpers.tiny_task(dropout=0.5))
    seeds = [variable for variable in model.task.non_trainable_variables if "seed" in variable.path]
    before = helpers.values_of(seeds)
    model.train_step(helpers.random_batch())
    assert len(seeds) == 2
    for seed, old in zip(seeds, before, strict=True):
        np.testing.assert_array_equal(seed.numpy(), old + np.array([0, 1]))


def test_regularisation_losses_enter_the_real_update_only():
    plain, regular = helpers.tiny_task(), helpers.tiny_task(regularizer=keras.regularizers.L2(0.01))
    models = [compiled(task) for task in (plain, regular)]
    kernel = plain.trainable_variables[0].numpy()
    for model in models:
        model.train_step(helpers.random_batch())
    difference = regular.trainable_variables[0].numpy() - plain.trainable_variables[0].numpy()
    np.testing.assert_allclose(difference, -LEARNING_RATE * 2 * 0.01 * kernel, atol=1e-6)
    for a, b in zip(*(helpers.values_of(m.policy_network.trainable_variables) for m in models), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("loop", ["train_step", "fit", "fit, compiled"])
def test_policy_is_updated_every_k_th_step(loop):
    model = compiled(helpers.tiny_task(), jit_compile="compiled" in loop, meta_every=3)
    step, batches = model.make_train_function(), iter(tf.data.Dataset.from_tensors(helpers.random_batch()).repeat())
    moved = []
    for _ in range(6):
        before = helpers.values_of(model.policy_network.trainable_variables)
        if loop == "train_step":
            model.train_step(helpers.random_batch())
        else:
            step(batches)
        after = helpers.values_of(model.policy_network.trainable_variables)
        moved.append(any((a != b).any() for a, b in zip(before, after, strict=True)))
    assert moved == [True, False, False, True, False, False]


@pytest.mark.parametrize("meta_every, expected", [(1, "--uuuu"), (2, "--u-u-")])
def test_the_policy_is_frozen_in_its_warm_up(meta_every, expected):
    model = compiled(helpers.tiny_task(), meta_every=meta_every, policy_warmup_steps=2)
    seen, gradient_norms = "", []
    for _ in range(6):
        before = helpers.values_of(model.policy_network.trainable_variables)
        model.reset_metrics()
        gradient_norms.append(float(model.train_step(helpers.random_batch())["policy_gradient_norm"]))
        after = helpers.values_of(model.policy_network.trainable_variables)
        seen += "u" if any((a != b).any() for a, b in zip(before, after, strict=True)) else "-"
    assert seen == expected
    assert [np.isfinite(norm) for norm in gradient_norms] == [kind == "u" for kind in expected]


def test_sampler_gets_each_pair_with_its_raw_weight():
    model = compiled(helpers.tiny_task())
    inputs, labels = helpers.random_batch()
    inputs["pairs"] = tf.constant([[2, 3], [3, 2], [2, 3], [13, 0], [0, 0], [5, 1]], tf.int32)
    features = model.features(inputs["images"])  # of the task before its update
    model.train_step((inputs, labels))
    embedding = ma.transformation_embedding(inputs["pairs"], inputs["magnitudes"])
    raw = model.policy_network(features, embedding).numpy()  # of the policy after its update
    sums, counts = np.zeros((2, 5, 14, 14))
    for pair, weight in zip(inputs["pairs"].numpy(), raw, strict=True):
        sums[0][tuple(pair)] += weight
        counts[0][tuple(pair)] += 1
    assert np.ptp(raw) > 1e-3
    np.testing.assert_allclose(model.sampler.weight_sums.numpy(), sums, rtol=1e-5)
    np.testing.assert_array_equal(model.sampler.counts.numpy(), counts)
    assert features.shape == (6, model.feature_width)


def test_an_example_of_weight_zero_does_not_matter():
    inputs, labels = helpers.random_batch()
    weights = tf.where(labels == labels[0], 0.0, 1.0)
    others = tf.where((weights > 0)[:, None, None, None], inputs["images"], 255 - inputs["images"])
    results = []
    for images in (inputs["images"], others):
        model = ma.MetaAugment(helpers.tiny_task(), policy_network=None)
        model.compile(keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", jit_compile=False)
        model.train_step((dict(inputs, images=images), labels, weights))
        results.append(helpers.values_of(model.task.trainable_variables))
    start = helpers.values_of(helpers.tiny_task().trainable_variables)
    assert all((a == b).all() for a, b in zip(*results, strict=True))
    assert any((a != b).any() for a, b in zip(results[0], start, strict=True))


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.02, epsilon=1e-3),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.02, epsilon=1e-3, weight_decay=0.1),
    "nesterov": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_updates_the_task_as_in_plain_keras(name):
    model, plain = compiled(helpers.tiny_task(), optimizer=OPTIMIZERS[name]()), OPTIMIZERS[name]()
    copies = [keras.Variable(value) for value in helpers.values_of(model.task.trainable_variables)]
    for seed in range(3):
        batch = helpers.random_batch(seed=seed)
        wanted = by_hand(model, batch, virtual_rate=float(plain.learning_rate))
        plain.apply_gradients(zip(wanted.gradient, copies, strict=True))
        model.train_step(batch)
        assert_close(model.task.trainable_variables, helpers.values_of(copies))
        assert_close(model.policy_network.trainable_variables, wanted.policy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss": lambda *pair: tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(*pair))},
            "one number for the whole",
        ),
        ({"meta_gradient": "forward"}, "exact, finite_difference, last_block"),
        ({"meta_every": 0}, "at least 1, got 0"),
        ({"policy_warmup_steps": -1}, "at least 0, got -1"),
    ],
)
def test_compile_rejects(changes, message):
    model = ma.MetaAugment(helpers.tiny_task())
    with pytest.raises(ma.UserError, match=message):
        model.compile("sgd", **{"loss": "sparse_categorical_crossentropy", **changes})


def test_compile_rejects_a_task_frozen_after_wrapping():
    task = helpers.tiny_task()
    model = ma.MetaAugment(task)
    task.trainable = False
    with pytest.raises(ma.UserError, match="no trainable variables"):
        model.compile("sgd", loss="sparse_categorical_crossentropy")


def test_an_empty_validation_batch_is_rejected():
    inputs, labels = helpers.random_batch(validation=0)
    with pytest.raises(ma.UserError, match="validation batch is empty"):
        compiled(helpers.tiny_task()).train_step((inputs, labels))
