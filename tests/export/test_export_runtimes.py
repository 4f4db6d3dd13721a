"""ONNX Runtime and LiteRT give the classifier's probabilities; skipped where they are not installed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny_task

import metaaug_tf as ma
from metaaug_tf.export import runtimes
from metaaug_tf.export.runtimes import export_runtime


def run_onnx(path, images):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def run_litert(path, images):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


RUN = {"onnx": run_onnx, "litert": run_litert}
PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}


def tasks():
    keras.utils.set_random_seed(3)
    yield "tiny", tiny_task(batch_norm=True)
    yield "wide_resnet", ma.wide_resnet(10, 1, 5, (16, 16, 3))


@pytest.mark.long
@pytest.mark.parametrize("kind", RUN)
def test_probabilities_are_those_of_the_task_for_any_batch(tmp_path, kind):
    for package in PACKAGES[kind]:
        pytest.importorskip(package)
    random = np.random.default_rng(0)
    for name, task in tasks():
        for variable in task.variables:  # statistics and kernels as after training, not as initialised
            if "moving" in variable.path:
                variable.assign(variable.numpy() + random.uniform(0.1, 0.5, variable.shape).astype(np.float32))
        path = export_runtime(task, tmp_path / name, kind)
        for batch in (1, 64):
            images = random.integers(0, 256, (batch, *task.input_shape[1:]), dtype=np.uint8)
            expected = tf.nn.softmax(task.predict(images, verbose=0)).numpy()
            result = RUN[kind](path, images)
            np.testing.assert_allclose(result, expected, atol=1e-4)
            np.testing.assert_array_equal(result.argmax(axis=1), expected.argmax(axis=1))
        assert [entry.name for entry in (tmp_path / name).iterdir()] == [path.name]


def test_unknown_formats_and_absent_converters_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ma.UserError, match="allowed: onnx, litert"):
        export_runtime(tiny_task(), tmp_path, "torch")
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ma.UserError, match=r"pip install 'metaaug_tf\[onnx\]'"):
        export_runtime(tiny_task(), tmp_path, "onnx")
    assert not list(tmp_path.iterdir())
