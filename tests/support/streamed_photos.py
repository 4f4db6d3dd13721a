"""Small TFDS datasets of JPEG and PNG files, prepared in a scratch folder."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

import metaaug_tf as ma
from metaaug_tf.config import config_for
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.sources import tfds_streamed as stream_source

TRAIN, TEST, CLASSES = 50, 12, 4


class Photos(tfds.core.GeneratorBasedBuilder):
    """JPEGs of several sizes whose grey level tells which example it is."""

    VERSION = tfds.core.Version("1.0.0")
    ENCODING = "jpeg"

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3), encoding_format=self.ENCODING)
        label = tfds.features.ClassLabel(num_classes=CLASSES)
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, TRAIN), "validation": self._generate_examples(100, TEST)}

    def _generate_examples(self, first, count):
        for number in range(first, first + count):
            pixels = np.full((40 + number % 7, 60 - number % 5, 3), 2 * number, np.uint8)
            yield number, {"image": pixels, "label": number % CLASSES}


class PngPhotos(Photos):
    """The same, stored as PNG."""

    VERSION = tfds.core.Version("1.0.0")
    ENCODING = "png"


@pytest.fixture(scope="module")
def builders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    found = {}
    for kind in (Photos, PngPhotos):
        found[kind.__name__] = kind(data_dir=folder)
        options = tfds.download.DownloadConfig(num_shards=3)
        found[kind.__name__].download_and_prepare(download_config=options)
    return found


@pytest.fixture
def load(builders, monkeypatch):
    def load(name="Photos", **changes):
        monkeypatch.setattr(stream_source, "prepared_builder", lambda name, data_dir: builders[name])
        settings = {**config_for("imagenet2012").to_dict(), "image_size": 16, "validation_examples": 8}
        return load_dataset({**settings, "dataset": name, **changes}, None)

    return load


def numbers(images):
    """Which example each image is of: its grey level, halved."""
    return np.round(np.asarray(images, float).mean(axis=(1, 2, 3)) / 2).astype(int)


def epoch(data, number, seed=3, batch_size=8, data_service="", **kwargs):
    sampler = ma.PairSampler()
    sampler.epoch.assign(number)
    dataset = ma.training_dataset(
        data.train,
        data.validation,
        sampler,
        batch_size=batch_size,
        validation_batch_size=4,
        seed=seed,
        augmentation=ma.Augmentation(policy="none", padding=0, flip=False, **kwargs),
        data_service=data_service,
    )
    return dataset, [(inputs["images"].numpy(), labels.numpy()) for inputs, labels in dataset]
