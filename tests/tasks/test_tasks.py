"""Task networks against published figures, and where the feature vector is found."""

import keras
import numpy as np
import pytest

import metaaug_tf as ma
from metaaug_tf.tasks.features import with_features


def test_stage_sizes():
    model = ma.wide_resnet(16, 2, 10, (32, 32, 3))
    shapes = [model.get_layer(f"stage{stage}_block2_add").output.shape[1:] for stage in (1, 2, 3)]
    assert shapes == [(32, 32, 32), (16, 16, 64), (8, 8, 128)]
    assert model.get_layer("logits").input.shape == (None, 128)


@pytest.mark.parametrize(("depth", "near"), [(11, "10 and 16"), (27, "22 and 28"), (4, "10 and 16"), (-3, "10 and 16")])
def test_depth_must_be_6n_plus_4(depth, near):
    with pytest.raises(ma.UserError, match=near):
        ma.wide_resnet(depth, 1, 10, (32, 32, 3))


def dense_tail(*tail):
    inputs = keras.Input((4,))
    x = hidden = keras.layers.Dense(3, name="hidden")(inputs)
    for layer in tail:
        x = layer(x)
    return keras.Model(inputs, x), keras.Model(inputs, hidden)


@pytest.mark.parametrize(
    "tail",
    [
        [keras.layers.Dense(2)],
        [keras.layers.Dense(2, activation="softmax")],
        [keras.layers.Dense(2), keras.layers.Softmax()],
        [keras.layers.Dense(2), keras.layers.Activation("softmax", dtype="float32")],
    ],
)
def test_features_are_what_the_last_dense_layer_reads(tail):
    model, hidden = dense_tail(*tail)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    predictions, features = with_features(model)(x)
    np.testing.assert_array_equal(predictions, model(x))
    np.testing.assert_array_equal(features, hidden(x))


def test_sequential_model_works():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    assert with_features(model).outputs[1].shape == (None, 3)


def test_named_layer_is_averaged_over_space():
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(5, 3, name="last_convolution")(inputs)
    x = keras.layers.Conv2D(2, 1)(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ma.UserError, match="not Dense.*feature_layer="):
        with_features(model)
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    found = with_features(model, "last_convolution")(images)[1]
    wanted = model.get_layer("last_convolution")(images).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    with pytest.raises(ma.UserError, match="no layer 'nope'"):
        with_features(model, "nope")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_model_without_a_graph_is_refused():
    model = Subclassed()
    model(np.zeros((1, 4)))
    with pytest.raises(ma.UserError, match="functional model"):
        ma.MetaAugment(model)


def test_several_outputs_and_frozen_models_are_refused():
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)])
    with pytest.raises(ma.UserError, match="2 outputs"):
        ma.MetaAugment(two)
    frozen, _ = dense_tail(keras.layers.Dense(2))
    frozen.trainable = False
    with pytest.raises(ma.UserError, match="no trainable variables"):
        ma.MetaAugment(frozen)
