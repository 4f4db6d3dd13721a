"""A user's own classifier under model.fit: frozen layers, class weights, keras.applications, what fit rejects."""

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma

PLAIN = ma.Augmentation(policy="none", padding=0, flip=False)
TRAIN, VALIDATION = helpers.random_examples(24, 0), helpers.random_examples(8, 1)


def batches(model, **settings):
    own = tf.data.Dataset.from_tensor_slices((TRAIN.images, TRAIN.labels)).batch(8)
    return ma.training_batches(own, VALIDATION, model.sampler, **settings)


def compiled(task, optimizer="sgd", **settings):
    model = ma.MetaAugment(task, **settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss, metrics=["accuracy"], jit_compile=False)
    return model


def test_frozen_layers_stay_and_have_no_part_in_the_optimizer():
    task = helpers.tiny_task(batch_norm=True)
    frozen = [task.layers[2], task.layers[3]]  # the first convolution and its BatchNorm
    for layer in frozen:
        layer.trainable = False
    model = compiled(task, keras.optimizers.SGD(0.1, momentum=0.9))
    before = [helpers.values_of(layer.variables) for layer in task.layers]
    model.fit(batches(model), epochs=1, verbose=0)
    for layer, values in zip(task.layers, before, strict=True):
        for variable, value in zip(layer.variables, values, strict=True):
            assert np.array_equal(variable, value) == (layer in frozen), variable.path
    # iterations and learning rate, then a momentum for each of the six variables that are trained
    assert len(task.trainable_variables) == 6 and len(model.optimizer.variables) == 2 + 6


def test_class_weights_are_those_of_keras():
    """Without a policy and with images as they are, fit is Keras's fit; a class not named has weight 1."""
    named = {0: 3.0, 2: 0.25}
    model = compiled(helpers.tiny_task(), policy_network=None)
    history = model.fit(batches(model, augmentation=PLAIN), epochs=2, verbose=0, class_weight=named).history
    plain = helpers.tiny_task()
    plain.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    own = tf.data.Dataset.from_tensor_slices((TRAIN.images, TRAIN.labels)).batch(8)
    expected = plain.fit(own, epochs=2, verbose=0, class_weight={1: 1.0, 3: 1.0, **named}).history
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)
    for mine, theirs in zip(model.task.variables, plain.variables, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_class_weights_count_in_the_meta_gradient():
    """A class of weight 0 can't move the task, so its images' policy weights have no meta-gradient."""
    labels = tf.constant([1] * 6)
    inputs, _ = helpers.random_batch()
    model = compiled(helpers.tiny_task())
    nothing = model.policy_gradients((inputs, labels, tf.zeros(6)), model.meta_step.method)
    something = model.policy_gradients((inputs, labels, tf.ones(6)), model.meta_step.method)
    assert float(tf.linalg.global_norm(nothing)) == 0 < float(tf.linalg.global_norm(something))


@pytest.mark.long
def test_a_partly_frozen_application_trains_only_its_end():
    keras.utils.set_random_seed(0)
    backbone = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    frozen_layers = backbone.layers[:-6]
    for layer in frozen_layers:
        layer.trainable = False
    task = keras.Sequential([backbone, keras.layers.Dense(4)])
    model = compiled(task, keras.optimizers.SGD(0.1, momentum=0.9))
    frozen = [variable for layer in frozen_layers for variable in layer.variables]  # BatchNorm's statistics too
    kept, moved = helpers.values_of(frozen), helpers.values_of(task.trainable_variables)
    assert 2 < len(moved) < 8 < len(frozen)
    train, validation = helpers.random_examples(8, 0, size=32), helpers.random_examples(4, 1, size=32)
    own = tf.data.Dataset.from_tensor_slices((train.images, train.labels)).batch(8)
    history = model.fit(ma.training_batches(own, validation, model.sampler), verbose=0).history
    for variable, value in zip(frozen, kept, strict=True):
        np.testing.assert_array_equal(variable, value)
    # Its untrained activations are so small that a scale next to 1 does not show its step; its momentum does.
    for variable, momentum in zip(task.trainable_variables, model.optimizer.momentums, strict=True):
        assert np.any(momentum), variable.path
    assert all(np.any(variable.numpy() != value) for variable, value in zip(task.weights[-2:], moved[-2:], strict=True))
    assert len(model.optimizer.variables) == 2 + len(moved) and history["policy_gradient_norm"][0] > 0


@pytest.mark.long
def test_layers_frozen_after_compile_are_noticed():
    model = compiled(helpers.tiny_task())
    model.task.layers[2].trainable = False
    with pytest.raises(ma.UserError, match="call compile"):
        model.fit(batches(model), verbose=0)
    model.compile("sgd", loss="sparse_categorical_crossentropy", jit_compile=False)
    model.fit(batches(model), verbose=0)


def test_pairs_and_arrays_given_to_fit_as_they_are_get_a_hint():
    model = compiled(helpers.tiny_task())
    own = tf.data.Dataset.from_tensor_slices((TRAIN.images, TRAIN.labels)).batch(8)
    for data in ((own,), (TRAIN.images, TRAIN.labels), (tf.constant(TRAIN.images), TRAIN.labels)):
        with pytest.raises(ma.UserError, match="ma.training_batches"):
            model.fit(*data, verbose=0)


def test_class_weights_of_no_class_are_rejected():
    model = compiled(helpers.tiny_task())
    with pytest.raises(ma.UserError, match="keys from 0 to 3, the classes, got 4"):
        model.fit(batches(model), verbose=0, class_weight={1: 2.0, 4: 2.0})
