"""Keras's fit, evaluate and predict within a user's own strategy.scope(), and what compile() rejects there."""

import helpers
import keras
import pytest
import tensorflow as tf
from replica_results import assert_same, run_script

import metaaug_tf as ma
from metaaug_tf.meta.checks import check_works_on_replicas

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_script("replica_fit.py", tmp_path_factory.mktemp("fit"))


@pytest.mark.long
def test_fit_evaluate_and_predict_equal_those_without_a_strategy(results):
    """With meta_every and steps_per_execution of 2, and a last batch of one image for two replicas."""
    assert_same(results["fit"][2], results["fit"][0])


@pytest.mark.long
def test_a_step_reduces_as_often_as_the_documentation_says(results):
    assert float(results["reductions"][2]["exact"]) == 9
    assert float(results["reductions"][2]["finite_difference"]) == 10


@pytest.mark.long
def test_a_step_of_ones_own_can_not_skip_the_policy(results):
    assert "make_train_function" in str(results["message"][2]["branch"])


def within(strategy, make):
    with strategy.scope():
        return make()


def test_what_was_made_outside_of_the_scope_is_rejected():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    task, optimizer = helpers.tiny_task(), keras.optimizers.SGD(0.1)
    optimizer.build(task.trainable_variables)
    model = within(strategy, lambda: ma.MetaAugment(task))
    with pytest.raises(ma.UserError, match=r"the task model was created in another .* strategy.scope"):
        model.compile("sgd", loss=LOSS)
    model = within(strategy, lambda: ma.MetaAugment(helpers.tiny_task()))
    with pytest.raises(ma.UserError, match="the policy's optimizer was created in another"):
        model.compile("sgd", policy_optimizer=keras.optimizers.SGD(0.1), loss=LOSS)
    model = ma.MetaAugment(within(strategy, helpers.tiny_task))
    with pytest.raises(ma.UserError, match="the task model was created in another"):
        model.compile("sgd", loss=LOSS)


def test_optimizers_that_do_not_work_on_several_replicas_are_rejected():
    for setting in ({"gradient_accumulation_steps": 2}, {"use_ema": True, "ema_overwrite_frequency": 10}):
        optimizer = keras.optimizers.SGD(0.1, **setting)
        with pytest.raises(ma.UserError, match=list(setting)[-1]):
            check_works_on_replicas(keras.optimizers.SGD(0.1), optimizer)


def test_a_loss_scale_optimizer_is_rejected():
    model = ma.MetaAugment(helpers.tiny_task())
    with pytest.raises(ma.UserError, match="LossScaleOptimizer"):
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), loss=LOSS)


def test_the_private_hook_that_apply_gradients_stands_on_still_exists():
    assert callable(keras.optimizers.SGD(0.1)._all_reduce_sum_gradients)
