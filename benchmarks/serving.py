"""Load test of the server: light clients alone and beside a heavy one, memory, throughput against the bare SavedModel.

    python benchmarks/serving.py [--model=runs/demo/export/task] [--clients=64] [--seconds=60]

Starts `python -m metaaug_tf.export.serve` on loopback, with an untrained export of the demo's network where no model is
given. Light requests hold one PNG of the model's size; heavy ones 8 PNGs of 4096 x 4096, as much as is allowed. Clients
and server share the machine's cores, so these are not the server's figures alone; its CPU time is.
"""

import argparse
import base64
import http.client
import io
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

PATH = "/v1/models/task:predict"
MEMORY_AFTER = (1_000, 20_000)


def export_untrained(folder):
    """An export of the demo's network with fresh weights: what it costs, not what it knows."""
    import metaaug_tf as ma
    from metaaug_tf.config import config_for
    from metaaug_tf.export.task import export_task
    from metaaug_tf.settings import NetworkSettings
    from metaaug_tf.tasks.registry import build_task

    task = build_task(NetworkSettings.of(config_for("glyphs")), 24, (32, 32, 3))
    export_task(ma.MetaAugment(task), folder, [str(number) for number in range(24)], "none")
    return folder


class Server:
    """The server's process, once it answers."""

    def __init__(self, model):
        command = [sys.executable, "-m", "metaaug_tf.export.serve", f"--model={model}", "--name=task", "--port=0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        found = re.search(r"http://[^/]+", self.process.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start")
        self.url = found[0]

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return answer.read()

    def metric(self, name):
        """The sum of a metric over its labels."""
        lines = self.get("/metrics").decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def png(size):
    """A PNG of noise, of (height, width, channels)."""
    return _file(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))


def _file(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def predict_request(files):
    """The bytes of an HTTP request for images in files."""
    rows = [{"b64": base64.b64encode(file).decode()} for file in files]
    body = json.dumps({"signature_name": "serving_bytes", "instances": rows}).encode()
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(body)) + body


def load(url, image, clients, seconds, images=1):
    """Latencies in seconds of all answered requests, the errors, and how long it took.

    All clients are in one thread, each on a connection of its own, so that they take little of the CPU.
    """
    request, address = predict_request([image] * images), urllib.parse.urlsplit(url)
    selector, latencies, errors = selectors.DefaultSelector(), [], []

    def send(connection):
        connection.sendall(request)
        selector.register(connection, selectors.EVENT_READ, [time.perf_counter(), b""])

    for _ in range(clients):
        send(socket.create_connection((address.hostname, address.port)))
    start = time.monotonic()
    while selector.get_map():
        for key, _ in selector.select():
            began, connection = key.data[0], key.fileobj
            part = connection.recv(2**16)
            key.data[1] += part
            if part and not _complete(key.data[1]):
                continue
            selector.unregister(connection)
            latencies.append(time.perf_counter() - began)
            if not key.data[1].startswith(b"HTTP/1.1 200"):
                errors.append(key.data[1][:200] or b"the connection was closed")
            if part and time.monotonic() - start < seconds:
                send(connection)
            else:
                connection.close()
    return np.array(latencies), errors, time.monotonic() - start


def _complete(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])


class Heavy:
    """A client that sends the heaviest requests that are allowed, one after the other."""

    def __init__(self, url):
        self._address = urllib.parse.urlsplit(url).netloc
        self._body = predict_request([_file(np.zeros((4096, 4096, 3), np.uint8))] * 8).split(b"\r\n\r\n", 1)[1]
        self.seconds, self._stop = [], False
        self._thread = threading.Thread(target=self._work)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        self._thread.join()

    def _work(self):
        while not self._stop:
            connection = http.client.HTTPConnection(self._address, timeout=120)
            start = time.monotonic()
            connection.request("POST", PATH, self._body)
            status = connection.getresponse().status
            assert status == http.HTTPStatus.OK, status
            self.seconds.append(time.monotonic() - start)
            connection.close()


def bare_seconds(model, image, batch):
    """Seconds of CPU and of the clock for an image when the SavedModel is called in this process."""
    import tensorflow as tf

    versions = (
        [model] if (model / "saved_model.pb").is_file() else sorted(model.glob("[0-9]*"), key=lambda p: int(p.name))
    )
    call = tf.saved_model.load(str(versions[-1])).signatures["serving_bytes"]
    images = tf.constant([image] * batch)
    call(images)
    calls, cpu, start = 0, time.process_time(), time.monotonic()
    while time.monotonic() - start < 5:
        {name: value.numpy() for name, value in call(images).items()}
        calls += 1
    return (time.process_time() - cpu) / calls / batch, (time.monotonic() - start) / calls / batch


def measure_load(server, image, clients, seconds):
    """Prints latencies alone and beside a heavy client; returns all errors."""
    alone, errors, took = load(server.url, image, clients, seconds)
    _print_latencies(f"{clients} clients, {took:.0f} s", alone, errors, took)
    with Heavy(server.url) as heavy:
        beside, more, took = load(server.url, image, clients, seconds)
    _print_latencies("beside a heavy one", beside, more, took)
    ratio = np.quantile(beside, 0.99) / np.quantile(alone, 0.99)
    print(f"  p99 {ratio:.2f} times that without it (wanted: at most 3)")
    print(f"  the heavy one: {len(heavy.seconds)} requests of 8 images, {np.mean(heavy.seconds):.1f} s each")
    return errors + more


def _print_latencies(what, latencies, errors, seconds):
    p50, p99 = np.quantile(latencies, [0.5, 0.99]) * 1e3
    rate = f"{len(latencies) / seconds:.0f} requests/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms"
    print(f"{what}: {len(latencies)} requests, {len(errors)} errors, {rate}")


def measure_memory(server, image, clients):
    """Prints the resident memory after some and after many requests."""
    sizes = []
    for wanted in MEMORY_AFTER:
        while server.metric("metaaug_predict_seconds_count") < wanted:
            load(server.url, image, clients, 1)
        sizes.append(server.metric("process_resident_memory_bytes") / 2**20)
    some, many = (f"{size:.0f} MiB after {count} requests" for size, count in zip(sizes, MEMORY_AFTER, strict=True))
    print(f"memory: {some}, {many}, {sizes[1] / sizes[0]:.2f} times (wanted: at most 1.1)")


def measure_throughput(server, image, clients, images, seconds):
    """(images in a call, images/s, CPU seconds an image) of the server under load."""
    names = ("metaaug_call_examples_sum", "metaaug_call_examples_count", "process_cpu_seconds_total")
    before = [server.metric(name) for name in names]
    latencies, _, took = load(server.url, image, clients, seconds, images)
    examples, calls, cpu = (server.metric(name) - was for name, was in zip(names, before, strict=True))
    return max(1, round(examples / calls)), len(latencies) * images / took, cpu / examples


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an export's folder")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as scratch:
        model = arguments.model or export_untrained(Path(scratch) / "task")
        server = Server(model)
        try:
            size = json.loads(server.get("/v1/models/task/metadata"))["metadata"]["export"]["image_size"]
            image = png(size)
            measure_memory(server, image, arguments.clients)
            errors = measure_load(server, image, arguments.clients, arguments.seconds)
            rates = [
                (images, *measure_throughput(server, image, clients, images, arguments.seconds / 4))
                for clients, images in ((arguments.clients, 1), (4, 32))
            ]
        finally:
            server.stop()
        for images, batch, rate, cpu in rates:
            bare_cpu, bare_clock = bare_seconds(model, image, batch)
            print(
                f"{images} images a request, {batch} computed at once: {rate:.0f} images/s, {cpu * 1e3:.3f} ms of CPU"
            )
            print(f"  the SavedModel alone: {1 / bare_clock:.0f} images/s, {bare_cpu * 1e3:.3f} ms")
            print(f"  throughput {rate * bare_clock:.2f} of that, by CPU {bare_cpu / cpu:.2f} (wanted: at least 0.5)")
    if errors:
        raise SystemExit(f"first error: {errors[0]}")


if __name__ == "__main__":
    main()
