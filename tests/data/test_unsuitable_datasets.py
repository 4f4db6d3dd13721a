"""TFDS datasets that can't be learned from: what is wrong is told before anything is trained."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds

import metaaug_tf as ma
from metaaug_tf.config import config_for
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.sources import tfds as tfds_source
from metaaug_tf.data.sources import tfds_streamed as stream_source
from metaaug_tf.settings import NetworkSettings
from metaaug_tf.tasks.registry import NETWORKS, build_task

features = tfds.features
IMAGE, LABEL = features.Image(shape=(8, 8, 3)), features.ClassLabel(num_classes=3)


class Drawn(tfds.core.GeneratorBasedBuilder):
    """Twelve images in `train`, all of class `LABELS`' choice, and as many unlabelled ones in `test`."""

    VERSION = tfds.core.Version("1.0.0")
    LABEL, LABELS = LABEL, (0, 1, 2)

    def _info(self):
        image = features.Image(shape=(8, 8, 3), encoding_format="jpeg")
        found = features.FeaturesDict({"image": image, "label": self.LABEL})
        return tfds.core.DatasetInfo(builder=self, features=found)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(self.LABELS), "unlabelled": self._generate_examples([-1])}

    def _generate_examples(self, labels):
        for number in range(12):
            image = np.full((8, 8, 3), 20 * number, np.uint8)
            yield number, {"image": image, "label": labels[number % len(labels)]}


class OneClass(Drawn):
    """All images are of one class of three."""

    VERSION = tfds.core.Version("1.0.0")
    LABELS = (1,)


class PlainNumbers(Drawn):
    """Labels that are numbers without a known range."""

    VERSION = tfds.core.Version("1.0.0")
    LABEL = features.Scalar(np.int64)


@pytest.fixture
def load(tmp_path, monkeypatch):
    def load(kind, **changes):
        builder = kind(data_dir=tmp_path)
        builder.download_and_prepare()
        for source in (tfds_source, stream_source):
            monkeypatch.setattr(source, "prepared_builder", lambda name, data_dir: builder)
        settings = {**config_for("any").to_dict(), "image_size": 8, "validation_examples": 3, **changes}
        return load_dataset({**settings, "dataset": kind.name}, None)

    return load


@pytest.mark.parametrize(
    ("found", "listed"),
    [
        ({"image": IMAGE}, "'image'"),
        ({"image": IMAGE, "attributes": {"young": features.Scalar(np.bool_)}}, "'attributes'"),
        ({"image": IMAGE, "labels": features.Sequence(LABEL)}, "'labels'"),
        ({"image": IMAGE, "label": features.Sequence(LABEL)}, "'label': Sequence"),
        ({"image": IMAGE, "label": features.Scalar(np.float32)}, "float32"),
        ({"image": IMAGE, "objects": features.Sequence({"label": LABEL})}, "'objects'"),
        ({"text": features.Text(), "label": LABEL}, "'text'"),
        ({"audio": features.Audio(), "label": LABEL}, "'audio'"),
        ({"video": features.Video(shape=(None, 8, 8, 3)), "label": LABEL}, "'video'"),
        ({"image": features.Text(), "label": LABEL}, "'image': Text"),
        ({"image": features.Tensor(shape=(8, 8, 3), dtype=np.float32), "label": LABEL}, "float32"),
        ({"image": features.Image(shape=(8, 8, 4)), "label": LABEL}, "8, 8, 4"),
        ({"image": features.Video(shape=(None, 8, 8, 3)), "label": LABEL}, "Video"),
    ],
)
def test_features_that_are_not_one_image_and_one_class_are_listed(found, listed):
    builder = SimpleNamespace(name="odd", info=SimpleNamespace(features=features.FeaturesDict(found)))
    with pytest.raises(
        ma.UserError, match=r"(?s)odd can't be used: .*1 or 3 channels.*one whole number.* it has"
    ) as told:
        tfds_source.check_features(builder)
    assert listed in str(told.value)


@pytest.mark.parametrize("stream", [False, True])
def test_images_without_a_label(load, stream):
    with pytest.raises(
        ma.UserError, match=r"'unlabelled' has images without a label.*train, unlabelled.*--config\.split"
    ):
        load(Drawn, split="unlabelled", stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_labels_that_are_no_class(load, monkeypatch, stream):
    load(Drawn)
    monkeypatch.setattr(type(LABEL), "num_classes", 2)
    with pytest.raises(ma.UserError, match="class 2.*there are 2.*prepare"):
        load(Drawn, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_a_split_that_is_not_there(load, stream):
    with pytest.raises(ma.UserError, match=r"no split 'tset', only train, unlabelled\. .*--config\.split=train"):
        load(Drawn, split="tset", stream=stream)


def test_one_class(load):
    with pytest.raises(ma.UserError, match="has a single class, '1'"):
        load(OneClass)


def test_classes_that_are_not_known_without_reading_everything(load):
    with pytest.raises(ma.UserError, match=r"labels are plain integers.*--config\.stream=False"):
        load(PlainNumbers, stream=True)
    assert load(PlainNumbers).class_names == ("0", "1", "2")


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "conv_net"])
def test_images_smaller_than_the_network_takes(network):
    """conv_net takes any."""
    smallest = 32 if network.startswith("resnet") else 8
    settings = NetworkSettings(model=network, depth=10, width=1)
    with pytest.raises(ma.UserError, match=f"at least {smallest} x {smallest} pixels, not 32 x {smallest - 1}: set"):
        build_task(settings, 10, (32, smallest - 1, 3))
