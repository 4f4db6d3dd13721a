"""The code of docs/library.md and docs/serving.md runs as it stands."""

import functools
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import random_examples, tiny_task
from PIL import Image

import metaaug_tf as ma
from metaaug_tf.export import client
from metaaug_tf.export.task import export_task
from metaaug_tf.policy.folder import write_policy, write_sampler

DOCS = Path(__file__).resolve().parents[2] / "docs"
CLASS_NAMES = ["kea", "kaka", "weka", "tui"]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A folder with runs/demo as a finished run leaves it, of 32 x 32 images, and image.png; the task."""
    monkeypatch.chdir(tmp_path)
    model = ma.MetaAugment(tiny_task(size=32))
    write_sampler(Path("runs/demo/policy"), np.full((14, 14), 1 / 196), 2)
    write_policy(Path("runs/demo/policy"), 128, model.policy_network)
    export_task(model, Path("runs/demo/export/task"), CLASS_NAMES, "glyphs")
    Image.fromarray(np.full((32, 32, 3), 77, np.uint8)).save("image.png")
    return model.task


def without_download(constructor):
    """A network of keras.applications with random weights, as those of ImageNet would have to be downloaded."""
    return functools.partial(constructor, weights=None)


@pytest.mark.long
def test_python_of_the_library_page_runs(demo, monkeypatch):
    monkeypatch.setattr(keras.applications, "MobileNetV3Small", without_download(keras.applications.MobileNetV3Small))
    examples = random_examples(80, 0, size=32)
    pairs = tf.data.Dataset.from_tensor_slices((examples.images, examples.labels))
    names = {"images": examples.images, "labels": examples.labels, "task": demo}
    names |= {"train": pairs, "validation_set": pairs.take(9), "validation": pairs.take(7)}
    for number, code in enumerate(blocks("library.md", "python")):
        exec(compile(code, f"library.md, block {number}", "exec"), names)
    assert keras.models.load_model("model.keras").feature_width == 576
    batch, _ = next(iter(names["batches"]))
    assert batch.shape == (64, 32, 32, 3) and batch.dtype == "uint8"
    assert float(np.mean(names["sample_weight"])) == pytest.approx(1, abs=1e-5)
    names["classifier"].compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    names["classifier"].predict(names["images"], verbose=0)


def test_python_of_the_serving_page_runs(demo, monkeypatch, capsys):
    from metaaug_tf.export.server.served_model import Limits, ServedModel

    model = ServedModel(Path("runs/demo/export/task/1"), Limits(8))

    def answer(self, method, path, value=None):
        """What the server says, without the network between."""
        import json

        assert self._base == "http://127.0.0.1:8501/v1/models/task"
        if value is None:
            return {"metadata": model.metadata()}
        job = model.job(json.dumps(value).encode())
        return json.loads(job.finish(job.function(job.inputs)))

    monkeypatch.setattr(client.Client, "_send", answer)
    for number, code in enumerate(blocks("serving.md", "python")):
        exec(compile(code, f"serving.md, block {number}", "exec"), {})
    assert capsys.readouterr().out.split()[0] in CLASS_NAMES
