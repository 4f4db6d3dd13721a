"""Damaged policy folders and bytes that are no images: an answer or a message, whatever is in them."""

import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fuzzing import damaged, few_and_many, fuzz
from helpers import tiny_task
from hypothesis import strategies as st
from PIL import Image

import metaaug_tf as ma
from metaaug_tf.export.task import export_task
from metaaug_tf.files import sha256_of
from metaaug_tf.policy.folder import write_policy, write_sampler
from metaaug_tf.policy.show import policy_text

SAMPLER_FILE, SETTINGS_FILE, WEIGHTS_FILE = "sampler.json", "policy.json", "network.weights.h5"
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return ma.MetaAugment(tiny_task())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("run") / "policy"
    for epoch in range(2):
        write_sampler(path, np.full((14, 14), 1 / 196), epoch)
    write_policy(path, 17, model.policy_network)
    return path


NUMBER = st.integers() | st.floats() | st.sampled_from([10**400, 2**63, 1e308, -0.0])
LEAF = st.none() | st.booleans() | NUMBER | st.text(max_size=8)
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3))
TABLE = st.lists(st.lists(NUMBER, min_size=14, max_size=14), min_size=14, max_size=14)
VALUE = JSON | TABLE | st.lists(st.tuples(NUMBER, TABLE | JSON), max_size=2)


def damages(folder):
    """Strategy for a damage: a function that does it to a copy of the folder."""

    def replaced(name, content):
        return lambda copy: (copy / name).write_bytes(content)

    def edited(name, key, value):
        def edit(copy):
            path = copy / name
            found = json.loads((folder / name).read_text())
            path.write_text(json.dumps({**found, key: value}))

        return edit

    def with_right_sum(content):
        def edit(copy):
            (copy / WEIGHTS_FILE).write_bytes(content)
            settings = json.loads((folder / SETTINGS_FILE).read_text())
            settings["weights_sha256"] = sha256_of(copy / WEIGHTS_FILE)
            (copy / SETTINGS_FILE).write_text(json.dumps(settings))

        return edit

    contents = {name: (folder / name).read_bytes() for name in (SAMPLER_FILE, SETTINGS_FILE, WEIGHTS_FILE)}
    kinds = [st.builds(replaced, st.just(name), damaged(content)) for name, content in contents.items()]
    for name in (SAMPLER_FILE, SETTINGS_FILE):
        keys = st.sampled_from(sorted(json.loads(contents[name])))
        kinds.append(st.builds(edited, st.just(name), keys, VALUE))
    kinds.append(damaged(contents[WEIGHTS_FILE]).map(with_right_sum))
    kinds.append(st.sampled_from(sorted(contents)).map(lambda name: lambda copy: (copy / name).unlink()))
    return st.one_of(kinds)


@few_and_many(40, 500)
def test_any_policy_folder(cases, folder, model):
    def read(damage):
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "policy"
            shutil.copytree(folder, copy)
            damage(copy)
            answers = 0
            for task in (None, model.task):
                try:
                    augment = ma.LearnedAugment.load(copy, task=task)
                except ma.UserError as error:
                    assert str(copy) in str(error)
                    continue
                answers += 1
                result = augment(IMAGES, seed=3)
                images, weights = (result, np.ones(2)) if task is None else result
                assert images.shape == IMAGES.shape and images.dtype == tf.uint8 and weights.shape == (2,)
            try:
                assert policy_text(copy)
            except ma.UserError as error:
                assert str(copy) in str(error) and not answers

    fuzz(cases, read, damages(folder))


def encoded(kind, side, **options):
    stream = io.BytesIO()
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


FILES = [
    encoded("PNG", 8),
    encoded("JPEG", 8),
    encoded("JPEG", 20, progressive=True),
    encoded("PNG", 20),
    encoded("GIF", 8),
]


@few_and_many(60, 500)
def test_any_bytes_as_images(cases, tmp_path, model):
    export_task(model, tmp_path / "task", ["a", "b", "c", "d"], "glyphs")
    serve = tf.saved_model.load(str(tmp_path / "task/1")).signatures["serving_bytes"]

    def served(files):
        try:
            result = serve(image_bytes=tf.constant(files, tf.string, [len(files)]))
        except tf.errors.InvalidArgumentError as error:
            assert error.message
            return
        np.testing.assert_allclose(np.sum(result["probabilities"], axis=1), 1, atol=1e-5)
        assert result["classes"].shape == (len(files),)

    one = st.one_of(*map(damaged, FILES), st.sampled_from(FILES))
    fuzz(cases, served, st.lists(one, max_size=3))
