"""MetaStep alone, without the Keras model around it: what it is given decides what a step does."""

import dataclasses

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.meta.forward import FunctionalTask, training_forward
from metaaug_tf.meta.gradient import MetaGradient
from metaaug_tf.meta.health import PolicyHealth
from metaaug_tf.meta.step import MetaStep, TrainingBatch
from metaaug_tf.meta.weights import learned
from metaaug_tf.tasks.features import with_features

RATE = 0.1


def cross_entropy(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def ones(forward, weights, variables, validation, learning_rate):
    """A method that asks for the same move whatever it is given."""
    return MetaGradient([tf.ones_like(variable.value) for variable in variables], tf.constant(2.0))


def make_step(**changes):
    task, policy = helpers.tiny_task(), ma.PolicyNetwork(hidden_units=5, evidence=())
    network = with_features(task)
    policy(tf.zeros([1, network.outputs[1].shape[-1]]), tf.zeros([1, 28]))
    step = MetaStep(
        task=FunctionalTask(network, cross_entropy),
        task_optimizer=keras.optimizers.SGD(RATE),
        policy_network=policy,
        policy_optimizer=keras.optimizers.SGD(RATE),
        sampler=ma.PairSampler(),
        health=PolicyHealth(),
        method=ones,
        weighting=learned,
    )
    step.task_optimizer.build(task.trainable_variables)
    step.policy_optimizer.build(policy.trainable_variables)
    return dataclasses.replace(step, **changes)


def batch(**settings):
    return TrainingBatch.from_data(helpers.random_batch(**settings))


def test_the_policy_takes_the_gradient_of_the_method_and_then_gives_the_weights():
    step, data = make_step(), batch()
    before = helpers.values_of(step.policy_network.trainable_variables)
    losses = step.task.apply(step.task.values(), data.images, data.labels).losses.numpy()
    features = step.task.network(data.images)[1]
    result = step.take(data, update_policy=True)
    for old, new in zip(before, step.policy_network.trainable_variables, strict=True):
        np.testing.assert_allclose(new.numpy(), old - RATE, atol=1e-6)
    raw = step.policy_network(features, data.embedding()).numpy()
    np.testing.assert_allclose(result.losses, losses, rtol=1e-6)
    assert float(result.loss) == pytest.approx(float(np.sum(raw / raw.sum() * losses)), rel=1e-5)
    logs = {metric.name: float(metric.result()) for metric in step.health.metrics}
    assert logs["meta_loss"] == 2 and logs["weight_mean"] == pytest.approx(raw.mean(), rel=1e-5)
    assert logs["policy_gradient_norm"] == pytest.approx(np.sqrt(sum(old.size for old in before)), rel=1e-5)


def test_without_an_update_of_the_policy_the_task_is_updated_alone():
    step = make_step()
    groups = step.policy_network.trainable_variables, step.task.network.trainable_variables
    before = [helpers.values_of(group) for group in groups]
    step.take(batch(), update_policy=False)
    moved = [
        any((old != new).any() for old, new in zip(values, helpers.values_of(group), strict=True))
        for values, group in zip(before, groups, strict=True)
    ]
    assert moved == [False, True] and np.isnan(float(step.health.gradient_norm.result()))
    assert step.sampler.counts.numpy().sum() == 6


def test_the_weighting_gets_normalised_weights_and_the_number_of_steps_taken():
    seen = []

    def weighting(weights, step):
        seen.append((weights.numpy(), int(step)))
        return tf.constant([1.0, 0, 0, 0, 0, 0])

    step = make_step(weighting=weighting)
    results = [step.take(batch(), update_policy=False) for _ in range(2)]
    assert [count for _, count in seen] == [0, 1]
    assert seen[0][0].sum() == pytest.approx(1, rel=1e-6)
    for result in results:
        assert float(result.loss) == pytest.approx(float(result.losses[0]), rel=1e-6)


@pytest.mark.parametrize(
    ("every", "warmup", "turns"), [(1, 0, "1111111"), (1, 2, "0011111"), (3, 0, "1001001"), (2, 3, "0001010")]
)
def test_turns_of_the_policy(every, warmup, turns):
    step = make_step(meta_every=every, policy_warmup_steps=warmup)
    found = ""
    for iterations in range(len(turns)):
        step.task_optimizer.iterations.assign(iterations)
        found += str(int(step.policy_turn()))
    assert found == turns and step.all_alike == ("0" not in turns)


def test_without_a_policy_all_images_count_the_same_and_no_step_differs():
    step = make_step(policy_network=None, meta_every=3)
    result = step.take(batch(), update_policy=True)
    assert step.all_alike
    assert float(result.loss) == pytest.approx(float(np.mean(result.losses)), rel=1e-6)
    assert step.sampler.counts.numpy().sum() == 0


def test_the_virtual_rate_is_the_task_optimizers_unless_set_apart():
    rates = []

    def method(forward, weights, variables, validation, learning_rate):
        rates.append(float(learning_rate))
        return ones(forward, weights, variables, validation, learning_rate)

    for apart in (None, 0.25):
        make_step(method=method, inner_learning_rate=apart).take(batch(), update_policy=True)
    assert rates == [pytest.approx(RATE), 0.25]


def test_gradients_are_those_of_the_method_asked_for_and_change_nothing():
    step = make_step()
    variables = [*step.task.network.variables, *step.policy_network.variables, *step.sampler.variables]
    before = helpers.values_of(variables)

    def twos(forward, weights, variables, validation, learning_rate):
        assert float(tf.reduce_sum(weights())) == pytest.approx(1, rel=1e-6)
        return MetaGradient([tf.fill(variable.shape, 2.0) for variable in variables], tf.constant(0.0))

    for gradient in step.policy_gradients(batch(), twos):
        np.testing.assert_array_equal(gradient, np.full(gradient.shape, 2))
    for old, new in zip(before, helpers.values_of(variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_empty_validation_batch_is_rejected():
    with pytest.raises(ma.UserError, match="validation batch is empty"):
        make_step().take(batch(validation=0), update_policy=True)


def test_features_are_constants_to_the_task():
    """The policy's weights must not pass a gradient to the task network through its features."""
    step, data = make_step(), batch()
    forward = training_forward(step.task, data.images, data.labels)
    assert all(gradient is None for gradient in forward.tape.gradient(forward.features, forward.values))
    assert all(gradient is not None for gradient in forward.tape.gradient(forward.losses, forward.values))


def test_losses_and_weights_stay_in_float32_where_the_network_computes_in_bfloat16():
    network, data = with_features(helpers.tiny_task(dtype="bfloat16")), batch()
    task = FunctionalTask(network, cross_entropy)
    assert network(data.images)[0].dtype == tf.bfloat16
    found = task.apply(task.values(), data.images, data.labels)
    assert found.predictions.dtype == found.losses.dtype == tf.float32
