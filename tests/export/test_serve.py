"""The server answers as TensorFlow Serving's protocol says; what it can't answer gets a clear 4xx."""

import base64
import json
import runpy
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow as tf
from command_runs import signals_by_default
from export_fixtures import CLASS_NAMES, export_all, png_header

from metaaug_tf.export.client import Client, ServingError

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
MODULE = [sys.executable, "-m", "metaaug_tf.export.serve"]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "export"
    export_all(folder)
    return folder


def start(*arguments):
    """A server process and its URL, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*MODULE, *map(str, arguments), f"--port={port}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=signals_by_default)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            if requests.get(url + "/healthz", timeout=5).json() == {"status": "ok"}:
                return process, url
        except requests.ConnectionError:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="module")
def url(export):
    process, url = start(f"--model={export / 'task'}", "--max_request_mib=0.25", "--max_batch=20")
    yield url
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(export, images):
    task = tf.saved_model.load(str(export / "task/1"))
    result = task.signatures["serving_default"](images=tf.constant(images))
    return {name: value.numpy() for name, value in result.items()}


def test_client_gets_the_savedmodels_numbers(url, images, expected):
    client = Client(url)
    files = [tf.io.encode_png(image).numpy() for image in images]
    for result in (client.classify(images), client.classify_files(files), Client(url, version=1).classify(images)):
        np.testing.assert_allclose(result["probabilities"], expected["probabilities"], rtol=1e-6)
        np.testing.assert_array_equal(result["classes"], expected["classes"])
    features = client.predict({"images": images}, "features")
    assert features[""].shape == (5, 6)


def test_rows_are_answered_by_rows(url, images, expected):
    for rows in (images.tolist(), [{"images": image.tolist()} for image in images]):
        answer = requests.post(url + "/v1/models/task:predict", json={"instances": rows}, timeout=30)
        predictions = answer.json()["predictions"]
        assert [row["classes"] for row in predictions] == expected["classes"].tolist()
        np.testing.assert_allclose([row["probabilities"] for row in predictions], expected["probabilities"], rtol=1e-6)


def test_status_and_metadata(url):
    client = Client(url)
    (status,) = client.status()
    assert status["state"] == "AVAILABLE" and status["version"] == "1"
    metadata = client.metadata()
    assert metadata["export"]["classes"] == CLASS_NAMES
    signature = metadata["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["images"]["dtype"] == "DT_UINT8"
    sizes = [dim["size"] for dim in signature["inputs"]["images"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "-1", "-1", "3"]
    assert set(signature["outputs"]) == {"probabilities", "classes"}


def test_many_clients_at_once_get_their_own_answers(url, images, expected):
    def ask(number):
        return Client(url).classify(images[number % 5][None])["probabilities"][0]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(64)))
    for number, answer in enumerate(answers):
        np.testing.assert_allclose(answer, expected["probabilities"][number % 5], atol=1e-6)


@pytest.mark.long
def test_64_clients_for_seconds_meet_no_error(url):
    serving = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/serving.py"))
    latencies, errors, _ = serving["load"](url, serving["png"]((8, 8, 3)), clients=64, seconds=3)
    assert errors == [] and len(latencies) >= 64


PIXEL = [[[0, 0, 0]]]
HUGE = base64.b64encode(png_header(20_000, 20_000)).decode()
BAD_REQUESTS = [
    ("{", 400, "not JSON"),
    ("[]", 400, '"instances" or "inputs"'),
    ({"instances": [PIXEL], "inputs": [PIXEL]}, 400, '"instances" or "inputs"'),
    ({"instances": []}, 400, "at least one example"),
    ({"instances": [PIXEL], "signature_name": "train"}, 400, "there are ['features', 'serving_bytes'"),
    ({"instances": [{"pixels": PIXEL}]}, 400, "takes ['images'], not ['pixels']"),
    ({"instances": [[[[0, 0, 256]]]]}, 400, "from 0 to 255"),
    ({"instances": [[[[0, 0, 0.5]]]]}, 400, "integers"),
    ({"instances": [[[[0, 0, "1"]]]]}, 400, "integers"),
    ({"instances": [[[[0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]]}, 400, "rectangular"),
    ({"instances": [[[[0, 0]]]]}, 400, "shape [any, any, any, 3]"),
    ({"instances": [PIXEL] * 21}, 400, "at most 20 examples"),
    ({"inputs": ["aGk="], "signature_name": "serving_bytes"}, 400, "image 0 of the request is neither a PNG nor"),
    ({"inputs": [{"b64": HUGE}], "signature_name": "serving_bytes"}, 400, "at most 16777216 pixels"),
    ({"inputs": [{"b64": "%%%"}], "signature_name": "serving_bytes"}, 400, "base64"),
    ({"inputs": [1], "signature_name": "serving_bytes"}, 400, "b64"),
    (json.dumps({"instances": ["0" * 300000]}), 413, "at most 262144 bytes"),
]


@pytest.mark.parametrize(("request_", "status", "message"), BAD_REQUESTS, ids=lambda value: str(value)[:30])
def test_bad_requests_get_a_clear_4xx(url, request_, status, message):
    body = request_ if isinstance(request_, str) else json.dumps(request_)
    answer = requests.post(url + "/v1/models/task:predict", data=body, timeout=30)
    assert answer.status_code == status
    assert message in answer.json()["error"] and "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/task/versions/7:predict", 404),
        ("GET", "/v1/models/task:predict", 405),
        ("GET", "/nowhere", 404),
    ],
)
def test_unknown_paths_models_and_methods(url, method, path, status):
    answer = requests.request(method, url + path, timeout=30)
    assert answer.status_code == status and path.split("/")[-1].split(":")[0] in answer.json()["error"]


def test_client_tells_what_the_server_said_or_that_there_is_none(url, images):
    with pytest.raises(ServingError, match="neither a PNG nor a JPEG") as refused:
        Client(url).classify_files([b"text"])
    assert refused.value.status == 400
    with pytest.raises(ServingError, match="no answer") as silent:
        Client("http://127.0.0.1:9").classify(images)
    assert silent.value.status is None


def computed(model, request):
    """The JSON of a model's answer, without lanes between."""
    job = model.job(json.dumps(request).encode())
    return json.loads(job.finish(job.function(job.inputs)))


@pytest.mark.long
def test_a_signature_with_a_scalar_is_served_by_columns_and_once_per_size_compiled(export, images, monkeypatch):
    from metaaug_tf.export.server import served_model
    from metaaug_tf.export.server.rest import RequestError

    monkeypatch.setattr(served_model, "MAX_COMPILED_SIZES", 1)
    model = served_model.ServedModel(export / "augment/1", served_model.Limits(20))
    request = {"inputs": {"images": images.tolist(), "seed": 3}}
    outputs = computed(model, request)
    direct = tf.saved_model.load(str(export / "augment/1")).signatures["serving_default"]
    expected = direct(images=tf.constant(images), seed=tf.constant(3, tf.int64))["images"]
    np.testing.assert_array_equal(outputs["outputs"]["images"], expected)
    with pytest.raises(RequestError, match=r"\['seed'\] has no value per example"):
        computed(model, {"instances": [{"images": PIXEL, "seed": 3}]})
    job = model.job(json.dumps(request).encode())
    assert (job.lane, job.key, len(job.seconds)) == ("small", None, 1)  # warm; neither joined nor cut
    small = json.dumps({"inputs": {"images": images[:, :7].tolist(), "seed": 3}}).encode()
    assert model.job(small).lane == model.job(small).lane == "new"
    with pytest.raises(RequestError, match="has had 1 sizes"):
        model.job(json.dumps({"inputs": {"images": images[:, :6].tolist(), "seed": 3}}).encode())


def test_requests_get_the_lane_and_the_answer_size_of_their_images(export):
    from metaaug_tf.export.server import served_model

    model = served_model.ServedModel(export / "task/1", served_model.Limits(20))

    def job(size, count):
        file = base64.b64encode(png_header(size, size)).decode()
        return model.job(json.dumps({"inputs": [{"b64": file}] * count, "signature_name": "serving_bytes"}).encode())

    assert [job(size, count).lane for size, count in ((8, 1), (8, 4), (1000, 1), (1000, 20), (4000, 1))] == [
        *("small", "small", "small", "large", "large")
    ]
    assert job(1000, 3).seconds[0] == pytest.approx(1e6 * 12e-9, rel=0.5)
    assert 4 * 5 * 8 < job(8, 4).answer_bytes < 4 * 5 * 20


@pytest.mark.long
@pytest.mark.parametrize("content", [None, "empty", "damaged"])
def test_a_folder_that_is_no_export_is_refused(tmp_path, content):
    folder = tmp_path / "task"
    if content:
        (folder / "1").mkdir(parents=True)
    if content == "damaged":
        (folder / "1/saved_model.pb").write_bytes(b"damaged")
    done = subprocess.run([*MODULE, f"--model={folder}"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    if content != "damaged":  # of those TensorFlow has something to say too
        assert done.stderr.startswith("metaaug_tf: ")
    assert "metaaug_tf: " in done.stderr and "Traceback" not in done.stderr
    assert ("can't be loaded" if content == "damaged" else "is not an export") in done.stderr
