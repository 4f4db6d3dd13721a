"""Load test of the server: a number of clients at once, each sending one PNG a request; prints latencies and errors.

    python benchmarks/serving.py [--model=runs/demo/export/task] [--clients=64] [--seconds=60]

Starts `python -m metaaug_tf.export.serve` on loopback, with an untrained export of the demo's network where no model is
given. Clients and server share the machine's cores, so these are not the server's figures alone.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from metaaug_tf.export.client import Client, ServingError


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


def start_server(model):
    """The server's process and URL, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "metaaug_tf.export.serve", f"--model={model}", "--name=task", f"--port={port}"]
    process, url = subprocess.Popen(command), f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            return process, url, Client(url).metadata()["export"]["image_size"]
        except ServingError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def png(size):
    import io

    from PIL import Image

    height, width, _ = size
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def load(url, image, clients, seconds):
    """Latencies in seconds of all answered requests, the refusals, and how long it took."""
    latencies, errors, barrier = [], [], threading.Barrier(clients + 1)

    def ask():
        client = Client(url)
        barrier.wait()
        while time.monotonic() < stop:
            start = time.perf_counter()
            try:
                client.classify_files([image])
                latencies.append(time.perf_counter() - start)
            except ServingError as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    stop = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    start = time.monotonic()
    barrier.wait()
    for thread in threads:
        thread.join()
    return np.array(latencies), errors, time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an export's folder")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as scratch:
        server, url, size = start_server(arguments.model or export_untrained(Path(scratch) / "task"))
        try:
            latencies, errors, seconds = load(url, png(size), arguments.clients, arguments.seconds)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()
    p50, p99 = np.quantile(latencies, [0.5, 0.99]) * 1e3
    print(f"{arguments.clients} clients, {seconds:.1f} s: {len(latencies)} requests, {len(errors)} errors")
    print(f"{len(latencies) / seconds:.0f} requests/s, latency p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    if errors:
        raise SystemExit(f"first error: {errors[0]}")


if __name__ == "__main__":
    main()
