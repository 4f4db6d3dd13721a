"""ShakeShake and ShakeDrop: their coefficients, and the meta-gradient through a backward pass with other ones."""

import exact_gradient as reference
import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.tasks import noise

CLASSES = 4
# Python floats that TensorFlow and Keras make float32 before they enter float64 arithmetic.
RATE, SCALE = float(np.float32(reference.RATE)), float(np.float32(1 / 255))


def shaken_task(dtype="float32", seed=1):
    """Two branches under ShakeShake, then a branch under ShakeDrop; smooth (tanh)."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), dtype=dtype)
    x = layers.Rescaling(1 / 255, dtype=dtype)(inputs)
    x = layers.Conv2D(4, 3, strides=2, activation="tanh", dtype=dtype)(x)
    branches = [layers.Conv2D(4, 3, padding="same", activation="tanh", dtype=dtype)(x) for _ in range(2)]
    x = layers.Add(dtype=dtype)([x, noise.ShakeShake(dtype=dtype, name="shake")(branches)])
    y = layers.Conv2D(4, 3, padding="same", activation="tanh", dtype=dtype)(x)
    x = layers.Add(dtype=dtype)([x, noise.ShakeDrop(0.5, dtype=dtype, name="drop")(y)])
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(CLASSES, dtype=dtype, name="logits")(x))


def fixed_coefficients(task, monkeypatch, same):
    """Gives both layers coefficients that depend on the batch size alone; returns (shake, drop) functions."""

    def draw(batch, key):
        forward, backward = np.random.default_rng([batch, key]).uniform(0, 1, (2, batch, 1, 1, 1))
        return tf.constant(forward), tf.constant(forward if same else backward)

    monkeypatch.setattr(task.get_layer("shake"), "coefficients", lambda batch: tf.stack(draw(int(batch), 0)))
    monkeypatch.setattr(task.get_layer("drop"), "coefficients", lambda batch: draw(int(batch), 1))
    return draw


def setup(monkeypatch, same):
    task = shaken_task("float64")
    draw = fixed_coefficients(task, monkeypatch, same)
    keras.utils.set_random_seed(4)
    policy = reference.SmoothPolicy()
    batch, validation = reference.data()
    policy(ma.MetaAugment(task, policy_network=None).features(batch[0]), batch[2])
    return task, policy, batch, validation, draw


def cross_entropy(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def test_exact_equals_central_differences_where_both_passes_have_the_same_coefficients(monkeypatch):
    task, policy, batch, validation, _ = setup(monkeypatch, same=True)
    reference.check_exact(task, policy, batch, validation, reference.CE, cross_entropy)


@tf.custom_gradient
def mixed(first, second, a, b):
    """a first + (1 - a) second with the gradient written out: b and 1 - b of what comes from above."""
    return a * first + (1 - a) * second, lambda up: (b * up, (1 - b) * up, None, None)


def explicit_network(values, images, draw):
    """Logits and features of shaken_task by plain TensorFlow, its noise with the custom gradient above."""
    k0, b0, k1, b1, k2, b2, k3, b3, dense, bias = values
    shake, drop = draw(len(images), 0), draw(len(images), 1)
    x = tf.tanh(tf.nn.conv2d(images * SCALE, k0, 2, "VALID") + b0)
    branches = [tf.tanh(tf.nn.conv2d(x, k, 1, "SAME") + b) for k, b in ((k1, b1), (k2, b2))]
    x = x + mixed(*branches, *shake)
    y = tf.tanh(tf.nn.conv2d(x, k3, 1, "SAME") + b3)
    x = x + mixed(y, tf.zeros_like(y), *drop)
    features = tf.reduce_mean(x, axis=[1, 2])
    return features @ dense + bias, features


def explicit_meta_gradient(task, policy, batch, validation, draw):
    """-rate sum_i <g_i, v> dp_i, g_i and v one by one through the backward pass of the noise layers (method.md)."""
    w = [tf.constant(value) for value in helpers.values_of(task.trainable_variables)]
    rows, features = [], None
    for i in range(len(batch[1])):
        with tf.GradientTape() as tape:
            tape.watch(w)
            logits, features = explicit_network(w, batch[0], draw)
            loss = cross_entropy(batch[1], logits)[i]
        rows.append(tape.gradient(loss, w))
    with tf.GradientTape() as tape:
        raw = policy(features, batch[2])
        p = raw / tf.reduce_sum(raw)
    p_now = p.numpy()
    w_hat = [x - RATE * sum(p_i * row[j] for p_i, row in zip(p_now, rows, strict=True)) for j, x in enumerate(w)]
    with tf.GradientTape() as outer:
        outer.watch(w_hat)
        loss = tf.reduce_mean(cross_entropy(validation[1], explicit_network(w_hat, validation[0], draw)[0]))
    v = outer.gradient(loss, w_hat)
    along = [-RATE * sum(float(tf.reduce_sum(a * b)) for a, b in zip(row, v, strict=True)) for row in rows]
    return tape.gradient(p, policy.trainable_variables, output_gradients=tf.constant(along, p.dtype))


def relative_difference(found, wanted):
    found, wanted = (np.concatenate([np.ravel(g) for g in gradients]) for gradients in (found, wanted))
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def test_nested_tapes_equal_the_explicit_computation_with_other_backward_coefficients(monkeypatch):
    task, policy, batch, validation, draw = setup(monkeypatch, same=False)
    wanted = explicit_meta_gradient(task, policy, batch, validation, draw)
    found = ma.meta_gradient(task, policy, batch, validation, reference.RATE, loss=reference.CE)
    assert relative_difference(found, wanted) < 1e-12
    # A finite difference of the losses follows the forward coefficients, so it is another vector.
    difference = ma.meta_gradient(
        task, policy, batch, validation, reference.RATE, "finite_difference", loss=reference.CE
    )
    assert relative_difference(difference, wanted) > 0.1


def test_finite_difference_agrees_where_both_passes_have_the_same_coefficients(monkeypatch):
    task, policy, batch, validation, _ = setup(monkeypatch, same=True)
    found, wanted = (
        ma.meta_gradient(task, policy, batch, validation, reference.RATE, method, loss=reference.CE)
        for method in ("finite_difference", "exact")
    )
    assert relative_difference(found, wanted) < 0.05


def values_and_slopes(layer, inputs, training):
    """Output and gradient of its sum, with the layer's state put back, so that calls see the same draws."""
    seed = layer.seed_generator.state.numpy()
    tensors = [tf.constant(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = layer(tensors if len(tensors) > 1 else tensors[0], training=training)
        total = tf.reduce_sum(y)
    layer.seed_generator.state.assign(seed)
    return y.numpy(), [slope.numpy() for slope in tape.gradient(total, tensors)]


def test_shake_shake_draws_per_image_and_uses_the_mean_in_evaluation():
    keras.utils.set_random_seed(0)
    layer = noise.ShakeShake()
    ones, zeros = np.ones((2000, 2, 2, 3), np.float32), np.zeros((2000, 2, 2, 3), np.float32)
    forward, (backward, other) = values_and_slopes(layer, [ones, zeros], training=True)
    for drawn in (forward, backward):
        assert np.ptp(drawn, axis=(1, 2, 3)).max() == 0, "one coefficient per image"
        assert drawn.min() >= 0 and drawn.max() < 1
        assert drawn.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * 2000))  # four standard errors
        assert drawn[:, 0, 0, 0].std() == pytest.approx(1 / np.sqrt(12), rel=0.05)
    np.testing.assert_allclose(backward + other, 1, atol=1e-6)
    assert abs(np.corrcoef(forward[:, 0, 0, 0], backward[:, 0, 0, 0])[0, 1]) < 0.1
    evaluated, slopes = values_and_slopes(layer, [ones, zeros], training=False)
    assert (evaluated == 0.5).all() and (slopes[0] == 0.5).all() and (slopes[1] == 0.5).all()


def test_shake_drop_keeps_the_branch_as_often_as_told_and_uses_the_mean_in_evaluation():
    keras.utils.set_random_seed(0)
    layer = noise.ShakeDrop(0.7)
    x = np.ones((64, 1, 1, 1), np.float32)
    kept, forwards, backwards = 0, [], []
    for _ in range(300):
        forward, (backward,) = values_and_slopes(layer, [x], training=True)
        layer.seed_generator.next()
        if (forward == 1).all():
            assert (backward == 1).all()
            kept += 1
        else:
            forwards.append(forward), backwards.append(backward)
    assert kept / 300 == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 300))
    forwards, backwards = np.concatenate(forwards), np.concatenate(backwards)
    assert -1 <= forwards.min() < -0.99 and 0.99 < forwards.max() < 1 and abs(forwards.mean()) < 0.05
    assert 0 <= backwards.min() < 0.01 and 0.99 < backwards.max() < 1
    assert (values_and_slopes(layer, [x], training=False)[0] == np.float32(0.7)).all()


@pytest.mark.parametrize("survival", [0, -0.1, 1.5])
def test_survival_is_a_probability(survival):
    with pytest.raises(ma.UserError, match="probability"):
        noise.ShakeDrop(survival)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_noise_is_drawn_once_per_step(jit_compile):
    """All passes of a step see one state, which advances as one draw advances it."""
    task = shaken_task()
    model = ma.MetaAugment(task, ma.PolicyNetwork(hidden_units=3))
    model.compile(loss=reference.CE, jit_compile=jit_compile)
    images, labels = helpers.random_batch(classes=CLASSES)
    seeds = [task.get_layer(name).seed_generator for name in ("shake", "drop")]
    expected = []
    for seed in seeds:
        before = seed.state.numpy()
        seed.next()
        expected.append(seed.state.numpy())
        seed.state.assign(before)
    logs = tf.function(model.train_step, jit_compile=jit_compile)((images, labels))
    assert np.isfinite(float(logs["meta_loss"]))
    for seed, wanted in zip(seeds, expected, strict=True):
        np.testing.assert_array_equal(seed.state.numpy(), wanted)


def test_two_passes_at_one_state_are_equal_and_the_next_state_gives_others():
    task = shaken_task()
    images = tf.cast(helpers.random_batch()[0]["images"], tf.float32)
    w, state = ([v.value for v in variables] for variables in (task.trainable_variables, task.non_trainable_variables))
    first, after = task.stateless_call(w, state, images, training=True)
    again, _ = task.stateless_call(w, state, images, training=True)
    later, _ = task.stateless_call(w, after, images, training=True)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - later).max() > 1e-4


def test_networks_with_noise_survive_saving(tmp_path):
    task = shaken_task()
    task.save(tmp_path / "task.keras")
    again = keras.models.load_model(tmp_path / "task.keras")
    images = helpers.random_batch()[0]["images"]
    np.testing.assert_array_equal(task(images), again(images))
    assert again.get_layer("drop").survival == 0.5
