"""keras.applications by name: preprocessing inside the model, frozen backbones, what is refused."""

import sys

import helpers
import keras
import numpy as np
import pytest

import metaaug_tf as ma
from metaaug_tf.tasks.applications import application, application_names, preprocessed

# One of each kind of preprocess_input: [-1, 1]; mean and deviation; BGR less a mean; inside the network.
KINDS = ["MobileNetV2", "DenseNet121", "VGG16", "EfficientNetV2B0", "ConvNeXtTiny", "Xception", "NASNetMobile"]


@pytest.mark.parametrize("name", KINDS)
def test_preprocessing_is_the_networks_own(name):
    constructor = getattr(keras.applications, name)
    inputs = keras.Input((5, 5, 3))
    model = keras.Model(inputs, preprocessed(inputs, constructor))
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype("float32")
    wanted = sys.modules[constructor.__module__].preprocess_input(images.copy())
    np.testing.assert_allclose(model(images), wanted, atol=1e-4)


def test_every_application_has_a_preprocessing_of_this_form():
    for name in application_names():
        inputs = keras.Input((2, 2, 3))
        assert preprocessed(inputs, getattr(keras.applications, name)).shape == (None, 2, 2, 3)


@pytest.mark.long
def test_a_small_one_trains_with_features_from_its_last_layer_and_survives_saving(tmp_path):
    task = application("MobileNetV3Small", 4, (8, 8, 3), image_size=32)
    model = ma.MetaAugment(task, ma.PolicyNetwork(hidden_units=3))
    assert model.feature_width == 576  # Searching for MobileNetV3, table 2
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss=loss, jit_compile=False)
    logs = model.train_step(helpers.random_batch())
    assert np.isfinite(float(logs["loss"])) and np.isfinite(float(logs["meta_loss"]))
    task.save(tmp_path / "task.keras")
    images = helpers.random_batch()[0]["images"]
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "task.keras")(images), task(images), atol=1e-6)


def test_a_frozen_backbone_stays_as_its_weights_file_has_it(tmp_path, monkeypatch):
    """Stands in for the ImageNet weights, which are not at hand: weights of the same network from a file made here."""
    source = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    source.save_weights(tmp_path / "kept.weights.h5")
    constructor = keras.applications.MobileNetV3Small

    def from_cache(weights, **kwargs):
        assert weights == "imagenet"
        return constructor(weights=str(tmp_path / "kept.weights.h5"), **kwargs)

    from_cache.__module__ = constructor.__module__
    monkeypatch.setattr(keras.applications, "MobileNetV3Small", from_cache)
    task = application("MobileNetV3Small", 4, (32, 32, 3), pretrained=True, freeze_backbone=True)
    assert [v.path.split("/")[-1] for v in task.trainable_variables] == ["kernel", "bias"]
    model = ma.MetaAugment(task, ma.PolicyNetwork(hidden_units=3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss=loss, jit_compile=False)
    before = task.get_layer("logits").bias.numpy()
    model.train_step(helpers.random_batch(size=32))
    backbone = next(layer for layer in task.layers if isinstance(layer, keras.Model))
    for found, wanted in zip(backbone.variables, source.variables, strict=True):
        if "seed" not in found.path:
            np.testing.assert_array_equal(found, wanted)  # BatchNorm statistics too
    assert np.abs(task.get_layer("logits").bias.numpy() - before).max() > 1e-6


def offline(*args, **kwargs):
    raise OSError("no network in this test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("EfficientNetV2b0", 10, (32, 32, 3)), "nearest: EfficientNetV2B0"),
        (("MobileNetV2", 10, (32, 32, 1)), "channels=3"),
        (("MobileNetV2", 1, (32, 32, 3)), "at least 2 classes"),
        (("InceptionV3", 10, (32, 32, 3)), "75x75.*--config.network_image_size"),
        (("MobileNetV2", 10, (32, 32, 3), 0, False, True), "--config.pretrained=True"),
        (("MobileNetV3Small", 10, (32, 32, 3), 0, True), "weights of applications/MobileNetV3Small can't be had"),
    ],
)
def test_what_is_refused(arguments, message, monkeypatch, tmp_path):
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(ma.UserError, match=message):
        application(*arguments)
