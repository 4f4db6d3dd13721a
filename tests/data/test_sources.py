"""Data sources: the registry, folders of images, and TFDS datasets (real ones where they are at hand)."""

import errno
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from data_settings import FOLDER, PREPARED, SETTINGS, needs_cifar10, needs_omniglot, write_images
from PIL import Image

from metaaug_tf.data.sources import glyphs, load_dataset, tfds_builder
from metaaug_tf.data.sources import tfds as tfds_source
from metaaug_tf.data.sources.images import check_memory, fit_image
from metaaug_tf.errors import UserError
from metaaug_tf.signals import Stopped


def as_set(images):
    return {image.tobytes() for image in images}


# Registry and images


def test_glyphs_through_the_registry():
    few = {"train_per_class": 5, "validation_per_class": 2, "test_per_class": 3}
    data = load_dataset(SETTINGS | few, None)
    classes = len(data.class_names)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [
        3 * classes,
        2 * classes,
        3 * classes,
    ]
    assert data.train.images.shape[1:] == (32, 32, 3) and data.train.images.dtype == np.uint8
    assert data.families == glyphs.glyph_families()
    assert not as_set(data.train.images) & (as_set(data.test.images) | as_set(data.validation.images))
    grey = load_dataset(SETTINGS | few | {"channels": 1, "image_size": 16}, None)
    assert grey.test.images.shape == (3 * classes, 16, 16, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 2}, "channels must be one of 1, 3, got 2"),
        ({"image_size": -1}, "image_size must be from 0 to 4096, got -1"),
        ({"test_fraction": 1.0}, "test_fraction must be from 0.01 to 0.9, got 1.0"),
        ({"validation_fraction": 1.5}, "validation_fraction must be from 0 to 0.9, got 1.5"),
        ({"split": "train"}, "split must be empty for 'glyphs', got train"),
        ({"validation_examples": 5, "validation_per_class": 1}, "exclude each other"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        load_dataset(SETTINGS | change, None)


def test_shrinking_averages_by_area_and_rounds_to_nearest():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[10], [11]], [[11], [11]]]  # mean 10.75
    assert fit_image(image, 2, 3).numpy()[..., 0].tolist() == [[11, 0], [0, 0]]
    striped = np.tile(np.array([0, 255, 255], np.uint8)[None, :, None], (6, 2, 1))  # 6 x 6, 1.5 pixels per pixel
    assert fit_image(striped, 4, 1).numpy()[0, :, 0].tolist() == [85, 255, 85, 255]


def test_enlarging_is_bilinear_and_own_size_is_untouched():
    image = np.array([[[0], [100]]], np.uint8)
    assert fit_image(image, 4, 1).numpy()[0, :, 0].tolist() == [0, 25, 75, 100]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)
    assert np.array_equal(fit_image(pixels, 5, 3), pixels)


def test_channels_are_weighed_or_repeated():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    pillow = np.asarray(Image.fromarray(pixels).convert("L"), int)
    assert np.abs(fit_image(pixels, 0, 1).numpy()[..., 0].astype(int) - pillow).max() <= 1
    grey = pixels[..., :1]
    assert np.array_equal(fit_image(grey, 0, 3), np.repeat(grey, 3, -1))
    assert np.array_equal(fit_image(np.repeat(grey, 3, -1), 0, 1), grey)


def test_too_many_images_for_memory_are_refused():
    check_memory(60_000, 32, 32, 3)
    with pytest.raises(UserError, match="180 GiB"):
        check_memory(1_281_167, 224, 224, 3)


# Folder


def test_folder_with_train_and_test_is_read_exactly(tmp_path):
    train = write_images(tmp_path / "train", ["cat", "ant"], 6, ending="PNG")
    test = write_images(tmp_path / "test", ["ant", "cat"], 2, seed=1)
    (tmp_path / "train" / "cat" / ".hidden.png").write_bytes(b"not an image")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".cache").mkdir()
    data = load_dataset(FOLDER | {"validation_per_class": 2}, str(tmp_path))
    assert data.class_names == ("ant", "cat") and data.skipped == 0 and data.families is None
    for part, files in ((data.test, test), (data.train, train), (data.validation, train)):
        names = {pixels.tobytes(): path.parent.name for path, pixels in files.items()}
        assert [names[image.tobytes()] for image in part.images] == [data.class_names[k] for k in part.labels]
    assert not as_set(data.train.images) & as_set(data.validation.images)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [8, 4, 4]


@pytest.mark.parametrize("inside", ["", "train"])
def test_folder_without_test_is_cut(tmp_path, inside):
    written = write_images(tmp_path / inside, ["a", "b", "c"], 10)
    data = load_dataset(FOLDER | {"validation_fraction": 0.25}, str(tmp_path))
    assert [np.bincount(part.labels).tolist() for part in (data.train, data.validation, data.test)] == [
        [6, 6, 6],
        [2, 2, 2],
        [2, 2, 2],
    ]
    assert as_set(np.concatenate([data.train.images, data.validation.images, data.test.images])) == as_set(
        written.values()
    )


def test_jpeg_of_any_ending_grey_and_alpha(tmp_path):
    write_images(tmp_path, ["a"], 3, ending="jpg")
    write_images(tmp_path, ["b"], 3, ending="JPEG")
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "a" / "grey.png")
    Image.fromarray(np.full((8, 8, 4), 33, np.uint8)).save(tmp_path / "b" / "alpha.png")
    data = load_dataset(FOLDER | {"test_per_class": 1}, str(tmp_path))
    images = np.concatenate([data.train.images, data.test.images])
    assert images.shape == (8, 8, 8, 3)
    assert {33, 77} <= {int(image[0, 0, 0]) for image in images if np.ptp(image) == 0}


def test_corrupt_images_are_named_or_skipped_and_counted(tmp_path):
    write_images(tmp_path, ["a", "b"], 5)
    whole = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "3.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a.0\.png must be a readable .*skip_corrupt"):
        load_dataset(FOLDER, str(tmp_path))
    data = load_dataset(FOLDER | {"skip_corrupt": True}, str(tmp_path))
    assert data.skipped == 2 and len(data.train) + len(data.test) == 8
    for k in range(5):
        (tmp_path / "a" / f"{k}.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="class 'a' has too few images"):
        load_dataset(FOLDER | {"skip_corrupt": True}, str(tmp_path))


def test_sizes_must_agree_unless_resized(tmp_path):
    write_images(tmp_path, ["a"], 4, size=8)
    write_images(tmp_path, ["b"], 4, size=12)
    with pytest.raises(UserError, match=r"must have one size.*\(8, 8\).*\(12, 12\).*image_size"):
        load_dataset(FOLDER, str(tmp_path))
    assert load_dataset(FOLDER | {"image_size": 10}, str(tmp_path)).train.images.shape[1:] == (10, 10, 3)
    write_images(tmp_path / "both" / "train", ["a", "b"], 2, size=8)
    write_images(tmp_path / "both" / "test", ["a", "b"], 2, size=9)
    with pytest.raises(UserError, match=r"train and test of .* differ in size"):
        load_dataset(FOLDER, str(tmp_path / "both"))


def test_layouts_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="needs --data_dir"):
        load_dataset(FOLDER, None)
    with pytest.raises(UserError, match=r"nowhere doesn't exist; it should hold train/CLASS"):
        load_dataset(FOLDER, str(tmp_path / "nowhere"))
    write_images(tmp_path / "one", ["a"], 3)
    with pytest.raises(UserError, match=r"1 class folder\(s\) found, at least 2"):
        load_dataset(FOLDER, str(tmp_path / "one"))
    with pytest.raises(UserError, match="is not a folder"):
        load_dataset(FOLDER, str(tmp_path / "one" / "a" / "0.png"))
    (tmp_path / "one" / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.png.* in the class folder\(s\) 'empty'"):
        load_dataset(FOLDER, str(tmp_path / "one"))
    write_images(tmp_path / "two" / "train", ["a", "b", "c"], 3)
    write_images(tmp_path / "two" / "test", ["a", "b", "d"], 3)
    with pytest.raises(UserError, match=r"same classes; found 'c' only in train, 'd' only in test"):
        load_dataset(FOLDER, str(tmp_path / "two"))
    with pytest.raises(UserError, match=r"'a' has too few images .* 2 there, 9 wanted"):
        load_dataset(FOLDER | {"train_per_class": 9}, str(tmp_path / "two" / "train"))


# TFDS


def test_sparse_ids_become_class_numbers():
    ids = np.array([107, 108, 250, 707])
    numbers = tfds_source.to_class_numbers(np.array([250, 707, 107, 250]), ids)
    assert numbers.tolist() == [2, 3, 0, 2] and numbers.dtype == np.int32


def test_unknown_dataset_lists_the_nearest():
    for name, near in (("omniglott", "omniglot"), ("glyph", "glyphs"), ("cifar-10", "cifar10")):
        with pytest.raises(UserError, match=rf"--dataset={name} is not known; nearest: .*\b{near}\b"):
            load_dataset(SETTINGS | {"dataset": name}, None)
    with pytest.raises(UserError, match="BuilderConfig nothing not found"):
        load_dataset(SETTINGS | {"dataset": "cifar10/nothing"}, None)


def test_no_data_and_no_network_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise tfds_builder.requests.ConnectionError("unreachable")

    monkeypatch.setattr(tfds_builder.requests, "head", unreachable)
    with pytest.raises(UserError, match=r"(?s)mnist is not prepared in .*no network.*--data_dir.*tfds build mnist"):
        load_dataset(SETTINGS | {"dataset": "mnist"}, str(tmp_path))
    assert not list(tmp_path.rglob("*.*"))


def test_a_dataset_that_is_not_there_leaves_no_temporary_folder(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert not tfds_builder.find_builder("mnist", str(tmp_path / "data")).is_prepared()
    assert not list(temporary.iterdir())
    assert tempfile.gettempdir() == str(temporary)


def test_a_stop_while_data_download_is_no_failed_download(tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(tfds_builder.requests, "head", stopped)
    with pytest.raises(Stopped):
        load_dataset(SETTINGS | {"dataset": "mnist"}, str(tmp_path))


@needs_omniglot
def test_omniglot_protocol_on_the_real_characters():
    rules = {"dataset": "omniglot", "split": "small1", "image_size": 32}
    rules |= {"train_per_class": 15, "validation_per_class": 2, "test_per_class": 5}
    data = load_dataset(SETTINGS | rules, str(PREPARED))
    assert len(data.class_names) == 136 and data.class_names[0] == "Balinese_0"
    for part, count in ((data.train, 13), (data.validation, 2), (data.test, 5)):
        assert (np.bincount(part.labels, minlength=136) == count).all()
        assert part.images.shape == (136 * count, 32, 32, 3)
    assert data.train.images.max() == 255 and data.train.images.mean() > 200  # ink on white paper


@needs_omniglot
def test_missing_splits_name_those_that_exist():
    for split in ("", "train", "small1["):
        with pytest.raises(UserError, match=r"has no split '.*', only small1\. .*--config\.split=small1"):
            load_dataset(SETTINGS | {"dataset": "omniglot", "split": split}, str(PREPARED))
    rules = {"dataset": "omniglot", "split": "small1", "train_per_class": 18, "test_per_class": 5}
    with pytest.raises(UserError, match=r"'Balinese_0' has too few images .* 20 there, 23 wanted"):
        load_dataset(SETTINGS | rules, str(PREPARED))


@needs_omniglot
def test_a_damaged_tfds_file_is_named(tmp_path):
    shutil.copytree(PREPARED / "omniglot", tmp_path / "omniglot")
    record = next(tmp_path.rglob("*.tfrecord*"))
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 0xFF
    record.write_bytes(content)
    with pytest.raises(UserError, match=r"omniglot: the split 'small1' in .* can't be read"):
        load_dataset(SETTINGS | {"dataset": "omniglot", "split": "small1"}, str(tmp_path))
    record.unlink()
    with pytest.raises(UserError, match="can't be read"):
        load_dataset(SETTINGS | {"dataset": "omniglot", "split": "small1"}, str(tmp_path))


@needs_cifar10
def test_cifar10_part_and_its_memory_bound():
    rules = {"dataset": "cifar10", "split": "train[:1%]", "validation_examples": 50, "channels": 1}
    data = load_dataset(SETTINGS | rules, str(PREPARED))
    assert len(data.test) == 100 and len(data.validation) == 50 and len(data.train) == 350
    assert data.class_names[:2] == ("airplane", "automobile")
    with pytest.raises(UserError, match="60000 images of 400 x 400 x 3 take 27 GiB"):
        load_dataset(SETTINGS | {"dataset": "cifar10", "image_size": 400}, str(PREPARED))


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "broken link"])
def test_what_is_no_regular_file_is_named_and_not_read(what, tmp_path):
    write_images(tmp_path, ["a", "b"], 8)
    odd = tmp_path / "a" / "z.png"
    if what == "pipe":
        os.mkfifo(odd)
    elif what == "folder":
        odd.mkdir()
    else:
        odd.symlink_to("/dev/zero" if what == "device" else tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"z\.png must be a readable.*not a regular file.*skip_corrupt"):
        load_dataset(FOLDER, str(tmp_path))
    assert load_dataset(FOLDER | {"skip_corrupt": True}, str(tmp_path)).skipped == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM], ids=errno.errorcode.get)
def test_a_failing_machine_is_no_damaged_image(number, tmp_path, monkeypatch):
    write_images(tmp_path, ["a", "b"], 8)

    def fail(path):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", fail)
    for skip in (False, True):
        with pytest.raises(UserError, match=os.strerror(number)) as caught:
            load_dataset(FOLDER | {"skip_corrupt": skip}, str(tmp_path))
        assert "The file may be fine" in str(caught.value)


def test_a_lack_of_memory_is_no_damaged_image(tmp_path, monkeypatch):
    write_images(tmp_path, ["a", "b"], 8)
    for error in (MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(tf.io, "decode_image", fail)
        with pytest.raises(UserError, match="not enough memory.*nothing is wrong with the file"):
            load_dataset(FOLDER | {"skip_corrupt": True}, str(tmp_path))


@pytest.mark.parametrize("name", ["a\nb", "bell\x07"])
def test_class_folders_of_more_than_one_line_are_rejected(name, tmp_path):
    write_images(tmp_path, [name, "b"], 8)
    with pytest.raises(UserError, match="class name must be one line"):
        load_dataset(FOLDER, str(tmp_path))


@pytest.mark.parametrize("where", ["name/1.0.0", "name/small/1.0.0", "beans/0.1.0"])
def test_a_dataset_that_names_a_module_is_rejected_before_it_is_imported(where, tmp_path, monkeypatch):
    (tmp_path / "loaded_by_name.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "data" / where
    folder.mkdir(parents=True)
    inner = {"image": {"python_class_name": "loaded_by_name.Feature"}}
    features = {"pythonClassName": "tensorflow_datasets.core.features.FeaturesDict", "features": inner}
    (folder / "features.json").write_text(json.dumps(features))
    (folder / "dataset_info.json").write_text(json.dumps({"name": "name", "version": "1.0.0", "splits": []}))
    for name in (where.split("/")[0], where.split("/")[0] + ":1.0.0"):
        with pytest.raises(UserError, match="loaded_by_name.Feature.*would import"):
            load_dataset(SETTINGS | {"dataset": name}, str(tmp_path / "data"))
    assert "loaded_by_name" not in sys.modules
