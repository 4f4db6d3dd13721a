"""A validation set of one's own: labels checked by hand, in a folder or in a split."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data_settings import FOLDER, write_images

from metaaug_tf.config import config_for
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.sources import tfds as tfds_source
from metaaug_tf.data.sources import tfds_streamed as stream_source
from metaaug_tf.data.sources.identity import identify
from metaaug_tf.errors import UserError
from metaaug_tf.settings import DataSettings


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 6), ("test", 3)):
        write_images(tmp_path / "data" / part, ["a", "b"], count, seed=len(part))
    return tmp_path / "data"


def same_images(examples, written):
    return {image.tobytes() for image in examples.images} == {pixels.tobytes() for pixels in written.values()}


def test_validation_beside_train_and_test_is_the_validation_set(folder):
    written = write_images(folder / "validation", ["a", "b"], 2, seed=9)
    data = load_dataset(FOLDER | {"validation_examples": 4}, str(folder))
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 6)
    assert same_images(data.validation, written) and list(data.validation.labels) == [0, 0, 1, 1]
    also = load_dataset(FOLDER | {"train_on_validation": True}, str(folder))
    assert len(also.train) == 16


def test_another_folder_can_be_named_also_for_images_without_sets(folder, tmp_path):
    written = write_images(tmp_path / "checked", ["a", "b"], 2, seed=9)
    settings = FOLDER | {"validation_dir": str(tmp_path / "checked")}
    assert same_images(load_dataset(settings, str(folder)).validation, written)
    data = load_dataset(settings, str(folder / "train"))
    assert len(data.train) + len(data.test) == 12 and same_images(data.validation, written)


def test_other_trusted_images_are_other_data(folder, tmp_path):
    write_images(tmp_path / "checked", ["a", "b"], 2)
    settings = DataSettings.of(FOLDER | {"validation_dir": str(tmp_path / "checked")})
    before = identify(settings, str(folder))
    write_images(tmp_path / "checked", ["a"], 3)
    assert "added: 1 file(s)" in before.difference(identify(settings, str(folder)))


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["a", "c"], "'b' only in train; each class needs at least one trusted image"),
        (["a", "b", "c", "d"], "train and validation must have the same classes; found 'd' only in validation"),
    ],
)
def test_classes_that_differ_are_named(tmp_path, classes, said):
    write_images(tmp_path / "train", ["a", "b", "c"], 6)
    write_images(tmp_path / "validation", classes, 1)
    with pytest.raises(UserError) as raised:
        load_dataset(FOLDER, str(tmp_path))
    assert said in str(raised.value)


def test_what_has_no_folder_is_rejected(tmp_path, folder):
    with pytest.raises(UserError, match="validation_dir must be empty for 'glyphs', got x"):
        load_dataset(FOLDER | {"dataset": "glyphs", "validation_dir": "x"}, None)
    with pytest.raises(UserError, match="validation_split must be empty for 'folder', got x; .* validation/CLASS"):
        load_dataset(FOLDER | {"validation_split": "x"}, str(folder))
    with pytest.raises(UserError, match="nowhere doesn't exist; it should hold CLASS"):
        load_dataset(FOLDER | {"validation_dir": str(tmp_path / "nowhere")}, str(folder))


class Shades(tfds.core.GeneratorBasedBuilder):
    """JPEGs of 8 x 8 pixels; `checked` has all classes, `few` lacks one."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(8, 8, 3), encoding_format="jpeg")
        label = tfds.features.ClassLabel(num_classes=3)
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
        )

    def _split_generators(self, dl_manager):
        parts = {"train": (0, 12, 3), "test": (20, 6, 3), "checked": (30, 6, 3), "few": (40, 4, 2)}
        return {name: self._generate_examples(*part) for name, part in parts.items()}

    def _generate_examples(self, first, count, classes):
        for number in range(first, first + count):
            yield number, {"image": np.full((8, 8, 3), 5 * number, np.uint8), "label": number % classes}


@pytest.fixture(params=[False, True], ids=["in memory", "streamed"])
def load(request, tmp_path, monkeypatch):
    builder = Shades(data_dir=tmp_path)
    builder.download_and_prepare()
    for source in (tfds_source, stream_source):
        monkeypatch.setattr(source, "prepared_builder", lambda name, data_dir: builder)
    settings = {**config_for("any").to_dict(), "image_size": 8, "dataset": "shades", "stream": request.param}
    return lambda **changes: load_dataset({**settings, **changes}, None)


def test_a_split_of_its_own_is_the_validation_set(load):
    data = load(validation_split="checked")
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 6)
    assert sorted(data.validation.images[:, 0, 0, 0] // 5) == list(range(30, 36))
    part = load(split="train[3:]", validation_split="train[:3]", validation_examples=0, test_fraction=0.34)
    assert len(part.validation) == 3 and len(part.train) + len(part.test) == 9


def test_a_split_that_is_tested_on_is_rejected(load):
    with pytest.raises(UserError, match="must not be a split that is trained or tested on, got 'test'"):
        load(validation_split="test")
    with pytest.raises(UserError, match="has no split 'nowhere', only"):
        load(validation_split="nowhere")


def test_a_split_without_a_class_is_rejected(load):
    with pytest.raises(UserError, match=r"'few' must have images of each class.*found 1 \(first: 2\)"):
        load(validation_split="few")
