"""Files of a streamed dataset that break during training: named, nothing lost; once they are fixed it resumes."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from helpers import tiny_task
from streamed_photos import CLASSES, Photos

import metaaug_tf as ma
from metaaug_tf.checkpoints.folder import CheckpointFolder
from metaaug_tf.checkpoints.model_state import capture_variables
from metaaug_tf.config import config_for
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.sources import tfds_streamed as stream_source
from metaaug_tf.data.streamed_examples import broken_files_named

SIZE, EPOCHS, BATCH = 8, 2, 7


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    builder = Photos(data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=3))
    return Path(builder.data_dir)


def loaded(folder):
    settings = {**config_for("imagenet2012").to_dict(), "dataset": "photos", "image_size": SIZE}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_source, "prepared_builder", lambda *_: tfds.builder_from_directory(folder))
        return load_dataset({**settings, "validation_examples": 8}, None)


@pytest.fixture(scope="module")
def wanted(original, tmp_path_factory):
    return train(loaded(original), tmp_path_factory.mktemp("whole"))


@pytest.fixture
def copy(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data")


def train(data, folder, *callbacks):
    model = ma.MetaAugment(tiny_task())
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        policy_optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )

    def make_dataset(first_step):
        sizes = {"batch_size": BATCH, "validation_batch_size": 4, "classes": CLASSES, "first_step": first_step}
        return ma.training_dataset(data.train, data.validation, model.sampler, **sizes)

    checkpoints = ma.Checkpoints(model, folder)
    checkpoints.restore()
    with broken_files_named(data.train, data.test):
        ma.fit_resumably(model, make_dataset, checkpoints, epochs=EPOCHS, callbacks=callbacks)
    return capture_variables(model)


def with_a_flipped_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewritten(path, change):
    """Writes the file again, with right checksums, after `change` of its list of records."""
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    change(records)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def without_its_last_record(path):
    rewritten(path, lambda records: records.pop())


def with_half_a_jpeg(path):
    def change(records):
        example = tf.train.Example.FromString(records[2])
        image = example.features.feature["image"].bytes_list.value
        image[0] = image[0][: len(image[0]) // 2]
        records[2] = example.SerializeToString()

    rewritten(path, change)


def with_a_label_that_is_no_class(path):
    def change(records):
        example = tf.train.Example.FromString(records[2])
        example.features.feature["label"].int64_list.value[0] = CLASSES
        records[2] = example.SerializeToString()

    rewritten(path, change)


DAMAGES = {
    with_a_flipped_bit: r"record \d+ \(from 0\) can't be read: corrupted record",
    without_its_last_record: r"ends after \d+ records",
    with_half_a_jpeg: r"record 2 \(from 0\) can't be read: .*JPEG",
    with_a_label_that_is_no_class: r"record 2 \(from 0\) can't be read: .*no class, from 0, of",
    Path.unlink: "record 0 .*No such file",
}


FOUND_WHEN_DECODED = (with_half_a_jpeg, with_a_label_that_is_no_class)


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_breaks_during_training_is_named_and_nothing_is_lost(tmp_path, copy, wanted, damage):
    path = next(copy.glob("*train*-00000-*"))
    before = path.read_bytes()
    break_it = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: damage(path))
    with pytest.raises(ma.UserError, match=f"{path}.*{DAMAGES[damage]}(.|\n)*same command resumes"):
        train(loaded(copy), tmp_path / "broken", break_it)
    reached = CheckpointFolder(tmp_path / "broken").newest_whole().position
    assert reached.epoch == 1 and (reached.step or damage not in FOUND_WHEN_DECODED)
    path.write_bytes(before)
    found = train(loaded(copy), tmp_path / "broken")
    assert wanted.keys() == found.keys()
    for name in wanted:
        np.testing.assert_array_equal(wanted[name], found[name], err_msg=name)


def test_a_broken_test_file_is_named_when_it_is_read(copy):
    path = next(copy.glob("*validation*-00000-*"))
    with_half_a_jpeg(path)
    with pytest.raises(ma.UserError, match=f"{path}.*record 2"):
        data = loaded(copy)
        with broken_files_named(data.test):
            list(data.test.in_order())


def test_other_errors_pass():
    with pytest.raises(tf.errors.InvalidArgumentError, match="mine"), broken_files_named():
        raise tf.errors.InvalidArgumentError(None, None, "mine")
