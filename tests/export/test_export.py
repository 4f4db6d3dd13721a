"""Exports give the run's numbers in a process without this package or Keras; bytes that can't be served are refused."""

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from export_fixtures import CLASS_NAMES, export_all, png_header
from PIL import Image

import metaaug_tf as ma
from metaaug_tf.export import savedmodel
from metaaug_tf.export.savedmodel import Signature, read_metadata, write_version
from metaaug_tf.export.warmup import read_warmup

# Calls every signature with the arrays of a file and stores what comes out.
CALL_ALL = """
import sys
sys.modules["keras"] = sys.modules["metaaug_tf"] = None
import numpy as np, tensorflow as tf
folder, source, target = sys.argv[1:]
inputs, results = np.load(source, allow_pickle=True), {}
for key in {name.rsplit("/", 1)[0] for name in inputs}:
    export, signature = key.split("/")
    function = tf.saved_model.load(f"{folder}/{export}/1").signatures[signature]
    given = {n.rsplit("/", 1)[1]: tf.constant(inputs[n].tolist() if inputs[n].dtype == object else inputs[n])
             for n in inputs if n.startswith(key + "/")}
    results.update({f"{key}/{name}": value.numpy() for name, value in function(**given).items()})
np.savez(target, **results)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "export"
    return folder, *export_all(folder)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def elsewhere(exported, images, tmp_path_factory):
    """Outputs "export/signature/name" of all signatures, computed by TensorFlow alone."""
    scratch = tmp_path_factory.mktemp("elsewhere")
    random = np.random.default_rng(1)
    files = np.empty(2, object)
    files[:] = [encoded(images[0]), encoded(images[1])]
    np.savez(
        scratch / "inputs.npz",
        **{
            "task/serving_default/images": images,
            "task/serving_bytes/image_bytes": files,
            "task/features/images": images,
            "policy/serving_default/images": images,
            "policy/serving_default/pairs": random.integers(0, 14, (5, 2)).astype(np.int32),
            "policy/serving_default/magnitudes": random.uniform(-10, 10, (5, 2)).astype(np.float32),
            "policy/from_features/features": random.normal(size=(5, 6)).astype(np.float32),
            "policy/from_features/embedding": random.uniform(size=(5, 28)).astype(np.float32),
            "augment/serving_default/images": images,
            "augment/serving_default/seed": np.int64(4),
        },
    )
    command = [sys.executable, "-c", CALL_ALL, exported[0], scratch / "inputs.npz", scratch / "results.npz"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=scratch, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(scratch / "inputs.npz", allow_pickle=True), np.load(scratch / "results.npz")


def test_task_gives_the_models_probabilities_classes_and_features(exported, elsewhere, images):
    _, model, _ = exported
    _, results = elsewhere
    expected = tf.nn.softmax(model.predict(images, verbose=0)).numpy()
    np.testing.assert_allclose(results["task/serving_default/probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(results["task/serving_default/classes"], expected.argmax(axis=1))
    np.testing.assert_allclose(results["task/serving_bytes/probabilities"], expected[:2], atol=1e-6)
    np.testing.assert_allclose(results["task/features/features"], model.features(images), atol=1e-6)


def test_policy_gives_the_networks_weights_from_images_and_from_features(exported, elsewhere, images):
    _, model, _ = exported
    inputs, results = elsewhere
    embedding = ma.transformation_embedding(
        inputs["policy/serving_default/pairs"], inputs["policy/serving_default/magnitudes"]
    )
    weights = model.policy_network(model.features(images), embedding)
    np.testing.assert_allclose(results["policy/serving_default/weights"], weights, atol=1e-6)
    weights = model.policy_network(inputs["policy/from_features/features"], inputs["policy/from_features/embedding"])
    np.testing.assert_allclose(results["policy/from_features/weights"], weights, atol=1e-6)


def test_augment_gives_the_layers_images_and_draws(exported, elsewhere, images):
    _, _, augment = exported
    _, results = elsewhere
    np.testing.assert_array_equal(results["augment/serving_default/images"], augment(images, seed=4))
    pairs, magnitudes = augment.draw(5, 4)
    np.testing.assert_array_equal(results["augment/serving_default/pairs"], pairs)
    np.testing.assert_array_equal(results["augment/serving_default/magnitudes"], magnitudes)


@pytest.fixture(scope="module")
def task(exported):
    return tf.saved_model.load(str(exported[0] / "task/1"))


def test_batches_of_any_size_and_images_of_other_sizes(exported, task, images):
    _, model, _ = exported
    large = tf.constant(np.repeat(np.repeat(images, 2, axis=1), 2, axis=2))
    expected = tf.nn.softmax(model.predict(images, verbose=0)).numpy()
    result = task.signatures["serving_default"](images=large)
    np.testing.assert_allclose(result["probabilities"], expected, atol=1e-6)  # area averages of 2 x 2 equal pixels
    files = tf.constant([encoded(image) for image in large.numpy()] + [encoded(images[0][..., 0])])
    result = task.signatures["serving_bytes"](image_bytes=files)
    np.testing.assert_allclose(result["probabilities"][:5], expected, atol=1e-6)
    assert task.signatures["serving_bytes"](image_bytes=tf.zeros([0], tf.string))["classes"].shape == (0,)
    assert task.signatures["serving_default"](images=large[:0])["probabilities"].shape == (0, 4)
    policy = tf.saved_model.load(str(exported[0] / "policy/1")).signatures["serving_default"]
    nothing = policy(images=large[:0, :8, :8], pairs=tf.zeros([0, 2], tf.int32), magnitudes=tf.zeros([0, 2]))
    assert nothing["weights"].shape == (0,)


def jpeg_that_claims(width, height):
    """A JPEG of 8 x 8 whose frame header tells another size."""
    data = bytearray(encoded(np.zeros((8, 8, 3), np.uint8), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_of_many_scans(count):
    """A progressive JPEG whose last scan comes again and again; each costs as much as the whole image."""
    data = encoded(np.zeros((8, 8, 3), np.uint8), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * (count - data.count(b"\xff\xda")) + data[-2:]


def test_a_progressive_jpeg_is_decoded(task, images):
    files = tf.constant([encoded(images[0], "JPEG", progressive=True), jpeg_of_many_scans(64)])
    expected = np.stack([tf.io.decode_jpeg(file, channels=3) for file in files.numpy()])
    by_pixels = task.signatures["serving_default"](images=tf.constant(expected))["probabilities"]
    by_bytes = task.signatures["serving_bytes"](image_bytes=files)["probabilities"]
    np.testing.assert_allclose(by_bytes, by_pixels, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (jpeg_of_many_scans(65), "at most 64 scans.*65"),
        (png_header(20000, 20000), "at most 16777216 pixels.*20000 20000"),
        (jpeg_that_claims(20000, 20000), "at most 16777216 pixels.*20000 20000"),
        (png_header(2**31 - 1, 2**31 - 1), "at most 16777216 pixels"),
        (png_header(0, 5), "at most 16777216 pixels"),
        (b"not an image", "neither a PNG nor a JPEG"),
        (b"", "neither a PNG nor a JPEG"),
        (b"\x89PNG\r\n\x1a\n", "neither a PNG nor a JPEG"),
        (b"GIF89a" + bytes(40), "neither a PNG nor a JPEG"),
        (png_header(8, 8), "(?i)png"),
        (b"\xff\xd8\xff\xe0garbage", "(?i)jpeg"),
    ],
    ids=[
        "many scans",
        "huge png",
        "huge jpeg",
        "overflow",
        "empty side",
        "text",
        "empty",
        "start",
        "gif",
        "cut png",
        "cut jpeg",
    ],
)
def test_bytes_that_are_no_image_or_too_large_a_one_are_refused(task, images, data, message):
    files = tf.constant([encoded(images[0]), data])
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        task.signatures["serving_bytes"](image_bytes=files)


def test_metadata_and_class_names_are_assets(exported):
    folder, model, _ = exported
    assert read_metadata(folder / "task/1") == {
        "metaaug_tf": ma.__version__,
        "dataset": "glyphs",
        "classes": CLASS_NAMES,
        "image_size": [8, 8, 3],
        "feature_width": model.feature_width,
    }
    assert (folder / "task/1/assets/class_names.txt").read_text().split() == CLASS_NAMES
    assert read_metadata(folder / "policy/1")["operations"] == list(ma.OPERATIONS)
    assert read_metadata(folder / "augment/1")["fill"] == 17


@pytest.mark.parametrize("export", ["task", "policy", "augment"])
def test_warmup_requests_name_every_signature_and_run(exported, export):
    path = exported[0] / export / "1"
    loaded = tf.saved_model.load(str(path))
    requests = read_warmup(path)
    assert {name for name, _ in requests} == set(loaded.signatures)
    for name, inputs in requests:
        outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        assert all(np.isfinite(value.numpy().astype(float)).all() for value in outputs.values())


@pytest.mark.long
def test_saved_model_cli_shows_and_runs_the_task(exported, task, images, tmp_path):
    folder = exported[0] / "task/1"
    np.save(tmp_path / "images.npy", images)
    script = "from tensorflow.python.tools.saved_model_cli import main; main()"
    arguments = ["run", "--dir", folder, "--tag_set", "serve", "--signature_def", "serving_default"]
    arguments += ["--inputs", f"images={tmp_path / 'images.npy'}", "--outdir", tmp_path]
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = task.signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), expected["probabilities"], atol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "classes.npy"), expected["classes"])


def test_versions_count_up_and_a_failed_export_leaves_none(tmp_path):
    spec = tf.TensorSpec((None,), tf.float32, name="x")

    def signature(function):
        return [Signature("serving_default", function, [spec], {"x": np.zeros(1, np.float32)})]

    def fail(x):
        raise RuntimeError("disk full")

    double = signature(lambda x: {"y": 2 * x})
    assert write_version(tmp_path / "double", [], double, {}).name == "1"
    with pytest.raises(RuntimeError, match="disk full"):
        write_version(tmp_path / "double", [], signature(fail), {})
    assert write_version(tmp_path / "double", [], double, {}).name == "2"
    assert sorted(entry.name for entry in (tmp_path / "double").iterdir()) == ["1", "2"]
    assert json.loads((tmp_path / "double/2/assets/metadata.json").read_text()) == {"metaaug_tf": ma.__version__}


def test_two_exports_at_once_make_two_versions(tmp_path, monkeypatch):
    both_started = threading.Barrier(2)

    def slow_archive(path, *_):
        with contextlib.suppress(threading.BrokenBarrierError):
            both_started.wait(0.5)  # broken where the other one waits its turn
        path.mkdir(exist_ok=True)

    monkeypatch.setattr(savedmodel, "_write_archive", slow_archive)
    monkeypatch.setattr(savedmodel, "write_warmup", lambda *_: None)
    with ThreadPoolExecutor(2) as pool:
        written = list(pool.map(lambda _: savedmodel.write_version(tmp_path / "task", [], [], {}).name, range(2)))
    assert sorted(written) == ["1", "2"] and sorted(os.listdir(tmp_path / "task")) == ["1", "2"]


def test_a_damaged_warm_up_file_is_named(tmp_path):
    file = tmp_path / "assets.extra/tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"\xff no message")
    with pytest.raises(ValueError, match=f"{file} holds no requests of TensorFlow Serving; export again"):
        read_warmup(tmp_path)
    content = file.read_bytes()
    file.write_bytes(struct.pack("<Q", 2**62) + content[8:])
    with pytest.raises(ValueError, match=rf"{file} is damaged: record 0 \(from 0\) claims {2**62} bytes"):
        read_warmup(tmp_path)
