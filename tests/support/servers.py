"""Servers in processes of their own, and raw connections to them."""

import base64
import contextlib
import http.client
import io
import json
import socket
import subprocess
import sys
import time

import numpy as np
from PIL import Image

PATH = "/v1/models/task:predict"
HEAD = b"POST /v1/models/task:predict HTTP/1.1\r\nHost: localhost\r\n"
# A server that has less patience than ours, so that tests need less.
IMPATIENT = """
import sys
from metaaug_tf.quiet import quiet_stderr
with quiet_stderr():
    from metaaug_tf.export.server import engine, intake
engine.HEAD_SECONDS = intake.BODY_SECONDS = {seconds}
from metaaug_tf.export.serve import main
sys.exit(main())
"""


class Server:
    """A server for an export, once it is ready."""

    def __init__(self, model, *arguments, patience=None):
        code = ["-m", "metaaug_tf.export.serve"] if patience is None else ["-c", IMPATIENT.format(seconds=patience)]
        command = [sys.executable, *code, f"--model={model}", "--port=0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        assert said.startswith("serving "), self.process.communicate()[1]
        self.port = int(said.rsplit(":", 2)[1].split("/")[0])

    def ask(self, method, path, body=None, timeout=60.0, headers=None):
        """(status, content, headers)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def predict(self, body, timeout=60.0):
        return self.ask("POST", PATH, body, timeout)

    def connect(self, *parts):
        """A raw connection on which something has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        for part in parts:
            connection.sendall(part)
        return connection

    def metric(self, name):
        """The sum of a metric over its labels."""
        lines = self.ask("GET", "/metrics")[1].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))

    def stop(self):
        """Ends it by SIGTERM; (exit code, seconds, stderr)."""
        self.process.terminate()
        start = time.monotonic()
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, time.monotonic() - start, said


def received(connection, timeout=10.0):
    """All that comes until the connection ends; None where it doesn't."""
    connection.settimeout(timeout)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except TimeoutError:
        return None
    except ConnectionError:
        pass
    return b"".join(parts)


def image_file(size, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), 77, np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def files_request(files):
    rows = [{"b64": base64.b64encode(file).decode()} for file in files]
    return json.dumps({"signature_name": "serving_bytes", "instances": rows}).encode()
