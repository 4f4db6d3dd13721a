"""What the policy sees of a sample besides image and transformation, and that it learns to trust it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.meta.evidence import class_labels, class_margins, class_probabilities
from metaaug_tf.meta.step import TrainingBatch
from metaaug_tf.policy.memory import UNKNOWN

LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0], [1.0, 1.5, 0.0], [0.2, 0.1, 0.3]], np.float32)
LABELS = np.array([0, 2, 1, 0])


def margins_by_hand(logits, labels):
    found = []
    for row, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        found.append(p[label] - max(p[k] for k in range(len(p)) if k != label))
    return np.array(found)


PROBABILITIES = tf.nn.softmax(LOGITS)
OF_CLASSES = {
    "sparse, logits": (keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS, LOGITS),
    "sparse by name": ("sparse_categorical_crossentropy", LABELS[:, None], PROBABILITIES),
    "one-hot": (keras.losses.CategoricalCrossentropy(from_logits=True), np.eye(3)[LABELS], LOGITS),
    "function": (keras.losses.categorical_crossentropy, np.eye(3)[LABELS], PROBABILITIES),
    "focal": (keras.losses.CategoricalFocalCrossentropy(), np.eye(3)[LABELS], PROBABILITIES),
    "by shape": ("crossentropy", LABELS, PROBABILITIES),
}


@pytest.mark.parametrize("case", OF_CLASSES.values(), ids=OF_CLASSES.keys())
def test_margins_are_the_labels_probability_minus_the_largest_other(case):
    loss, labels, predictions = case
    labels, predictions = tf.constant(labels), tf.constant(predictions)
    classes = class_labels(loss, labels, predictions)
    np.testing.assert_array_equal(classes, LABELS)
    found = class_margins(classes, class_probabilities(loss, labels, predictions))
    np.testing.assert_allclose(found, margins_by_hand(LOGITS, LABELS), atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "width"), [("mse", 3), ("binary_crossentropy", 3), ("binary_crossentropy", 1), (lambda y, p: p[:, 0], 3)]
)
def test_other_losses_have_no_classes(loss, width):
    assert class_labels(loss, tf.zeros([4, width]), tf.zeros([4, width])) is None


def test_the_memory_is_a_mean_at_first_and_then_follows():
    memory = ma.SampleMemory(5, [1, 100, 10])
    past, visits = np.zeros(5), np.zeros(5, int)
    random = np.random.default_rng(0)
    for _ in range(8):
        indices, margins = random.choice(5, 3, replace=False), random.uniform(-1, 1, 3)
        for index, margin in zip(indices, margins, strict=True):
            past[index] += max(1 / (visits[index] + 1), 0.3) * (margin - past[index])
            visits[index] += 1
        recalled = memory.recalled(tf.constant(indices), tf.constant(margins))
        memory.observe(tf.constant(indices), tf.constant(margins))
        np.testing.assert_allclose(memory.margins, past, atol=1e-6)
        np.testing.assert_allclose(recalled, past[indices], atol=1e-6)
        np.testing.assert_array_equal(memory.visits, visits)
    np.testing.assert_allclose(memory.frequencies(tf.constant([0, 1, 2])), [0, 1, 0.5], atol=1e-6)
    assert not ma.SampleMemory(5).frequencies(tf.constant([0, 1])).numpy().any()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_image_in_a_batch_twice_had_one_visit_and_unknown_ones_none(jit_compile):
    memory = ma.SampleMemory(3)
    observe = tf.function(memory.observe, jit_compile=jit_compile)
    observe(tf.constant([1, 1, UNKNOWN]), tf.constant([0.2, 0.6, -1.0]))
    np.testing.assert_allclose(memory.margins, [0, 0.4, 0], atol=1e-6)
    np.testing.assert_array_equal(memory.visits, [0, 1, 0])
    np.testing.assert_allclose(memory.recalled(tf.constant([UNKNOWN]), tf.constant([-0.7])), [-0.7])


def noisy_examples():
    """Four classes told apart by their grey level; every fourth label is wrong."""
    random = np.random.default_rng(0)
    labels = np.arange(96) % 4
    images = (50 * labels[:, None, None, None] + 30 + random.normal(0, 6, (96, 6, 6, 3))).astype(np.uint8)
    wrong = np.arange(96) // 4 % 4 == 0
    given = np.where(wrong, (labels + 1) % 4, labels).astype(np.int32)
    return ma.Examples(images, given), ma.Examples(images[::5], labels[::5].astype(np.int32)), wrong


def model_of(evidence=("doubt",), loss=None, memory=None, dtype="float32", **settings):
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((6, 6, 3)),
        keras.layers.Rescaling(1 / 127, -1, dtype=dtype),
        keras.layers.GlobalAveragePooling2D(dtype=dtype),
        keras.layers.Dense(16, "relu", dtype=dtype),
        keras.layers.Dense(4, dtype=dtype),
    ]
    policy = ma.PolicyNetwork(hidden_units=6, evidence=evidence, dtype=dtype)
    model = ma.MetaAugment(keras.Sequential(layers), policy, memory=memory)
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizers = keras.optimizers.SGD(0.3), keras.optimizers.Adam(0.02)
    model.compile(*optimizers, loss=loss, jit_compile=False, **settings)
    return model


@pytest.mark.parametrize("method", [pytest.param("exact", marks=pytest.mark.long), "finite_difference"])
def test_wrong_labels_lose_their_weight(method):
    train, validation, wrong = noisy_examples()
    model = model_of(memory=ma.SampleMemory.of(train, 4), meta_gradient=method, policy_warmup_steps=60)
    settings = ma.Augmentation(policy="none", padding=0, flip=False)
    data = ma.training_dataset(train, validation, model.sampler, batch_size=32, augmentation=settings)
    model.fit(data, epochs=60, verbose=0)
    assert float(model.policy_network.trust[0]) < -0.05
    margins = model.memory.margins.numpy()
    assert margins[wrong].max() < 0 < margins[~wrong].min()
    assert set(model.memory.visits.numpy()) == {60}


def test_the_meta_gradient_of_the_trust_is_that_of_finite_differences():
    """In float64: the validation loss after the virtual step, computed again at two values of each trust."""
    train, validation, _ = noisy_examples()
    model = model_of(("doubt", "doubt_now"), dtype="float64", inner_learning_rate=0.3)
    policy, trust = model.policy_network, np.array([-0.03, 0.02])
    data = next(iter(ma.training_dataset(train, validation, model.sampler, batch_size=32)))
    policy.trust.assign(trust)
    gradients = model.meta_step.policy_gradients(TrainingBatch.from_data(data), model.meta_step.method)
    place = [variable.path for variable in policy.trainable_variables].index(policy.trust.path)

    def validation_loss(value):
        policy.trust.assign(value)
        return after_virtual_step(model, data, 0.3)

    for k, step in enumerate(np.eye(2) * 1e-5):
        expected = (validation_loss(trust + step) - validation_loss(trust - step)) / 2e-5
        assert gradients[place].numpy()[k] == pytest.approx(expected, rel=1e-4) and expected != 0


def after_virtual_step(model, data, rate):
    """The validation loss after one plain gradient step along the weighted loss, by hand."""
    inputs, labels = data
    task, policy = model.task, model.policy_network
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits
    values = [variable.numpy() for variable in task.trainable_variables]
    with tf.GradientTape() as tape:
        logits = task(inputs["images"], training=True)
        doubt = np.maximum(0, -margins_by_hand(logits.numpy(), labels.numpy()))  # nothing is remembered yet
        evidence = np.stack([doubt, doubt], axis=-1)
        features = model.features(inputs["images"], training=True)
        embedding = ma.transformation_embedding(inputs["pairs"], inputs["magnitudes"])
        raw = policy(features, embedding, evidence)
        total = tf.reduce_sum(tf.stop_gradient(raw / tf.reduce_sum(raw)) * loss(labels, logits))
    gradients = tape.gradient(total, task.trainable_variables)
    for variable, gradient in zip(task.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    result = float(tf.reduce_mean(loss(inputs["validation_labels"], task(inputs["validation_images"], training=True))))
    for variable, value in zip(task.trainable_variables, values, strict=True):
        variable.assign(value)
    return result


def test_the_sampler_sees_the_transformations_part_alone():
    train, validation, _ = noisy_examples()
    model = model_of(memory=ma.SampleMemory.of(train, 4))
    model.policy_network.trust.assign([-5.0])
    data = next(iter(ma.training_dataset(train, validation, model.sampler, batch_size=32)))
    inputs, _ = data
    embedding = ma.transformation_embedding(inputs["pairs"], inputs["magnitudes"])
    own = model.policy_network(model.features(inputs["images"], training=True), embedding)
    model.meta_step.take(TrainingBatch.from_data(data), update_policy=False)
    assert float(tf.reduce_sum(model.sampler.weight_sums)) == pytest.approx(float(tf.reduce_sum(own)), rel=1e-5)
    least = next(metric for metric in model.meta_step.health.metrics if metric.name == "weight_min")
    assert float(least.result()) < 0.5 * float(tf.reduce_min(own))


def test_without_classes_the_loss_is_the_evidence():
    train, validation, _ = noisy_examples()
    targets = [ma.Examples(part.images, part.labels) for part in (train, validation)]
    model = model_of(loss="mse", memory=ma.SampleMemory.of(train, 4))
    inputs, labels = next(iter(ma.training_dataset(*targets, model.sampler, batch_size=32)))
    labels = tf.one_hot(labels, 4)
    inputs["validation_labels"] = tf.one_hot(inputs["validation_labels"], 4)
    batch = TrainingBatch.from_data((inputs, labels))
    losses = model.meta_step.take(batch, update_policy=True).losses.numpy()
    expected = np.clip((losses.mean() - losses) / (3 * losses.std()), -1, 1)
    np.testing.assert_allclose(model.memory.margins.numpy()[inputs["indices"]], expected, atol=1e-5)


def test_nothing_is_remembered_of_batches_without_indices():
    model = model_of(memory=ma.SampleMemory(8))
    inputs, labels = next(iter(ma.training_dataset(*noisy_examples()[:2], model.sampler, batch_size=32)))
    inputs.pop("indices")
    model.meta_step.take(TrainingBatch.from_data((inputs, labels)), update_policy=True)
    assert not model.memory.visits.numpy().any()


@pytest.mark.parametrize("evidence", [("doubt", "doubt"), ("loss",)])
def test_unknown_evidence_is_rejected(evidence):
    with pytest.raises(ma.UserError, match="evidence must be some of doubt, doubt_now, frequency, each once, got"):
        ma.PolicyNetwork(evidence=evidence)
    with pytest.raises(ma.UserError, match="at least 1, got 0"):
        ma.SampleMemory(0)


def test_memory_and_trust_are_saved_with_the_model(tmp_path):
    train, validation, _ = noisy_examples()
    model = model_of(memory=ma.SampleMemory.of(train, 4))
    model.fit(ma.training_dataset(train, validation, model.sampler, batch_size=32), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.memory.margins, model.memory.margins)
    np.testing.assert_array_equal(loaded.policy_network.trust, model.policy_network.trust)
    assert loaded.memory.class_sizes == (24, 24, 24, 24) and float(model.policy_network.trust[0]) != 0
    old = {key: value for key, value in model.policy_network.get_config().items() if key != "evidence"}
    assert ma.PolicyNetwork.from_config(old).evidence == ()
