"""A client of TensorFlow Serving's REST protocol; needs neither TensorFlow nor Keras.

It talks to TensorFlow Serving and to metaaug_tf.export.serve alike.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import requests


class ServingError(RuntimeError):
    """The server did not answer, or refused the request.

    Attributes:
        status: HTTP status; None where there was no answer.
    """

    def __init__(self, message: str, status: int | None = None):
        """Says what the server said."""
        super().__init__(message)
        self.status = status


class Client:
    """Asks one model; keeps its connection, so use one client per thread.

    Example:
        client = Client("http://127.0.0.1:8501")
        result = client.classify_files([open("image.png", "rb").read()])
        result["probabilities"], result["classes"]
    """

    def __init__(self, url: str, model: str = "task", version: int | None = None, timeout_seconds: float = 30.0):
        """Connects at the first request.

        Args:
            url: e.g. http://127.0.0.1:8501.
            model: name under which it is served.
            version: by default the server's newest.
            timeout_seconds: for each request.
        """
        self._base = f"{url.rstrip('/')}/v1/models/{model}" + (f"/versions/{version}" if version else "")
        self._timeout = timeout_seconds
        self._session = requests.Session()

    def predict(self, inputs: Mapping[str, Any], signature: str = "serving_default") -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
            inputs: arrays, or lists of bytes, by input name.
            signature: name.

        Returns:
            Arrays by output name; a single output, which the protocol sends without its name, under "".

        Raises:
            ServingError: no answer, or a refusal.
        """
        values = {name: _encoded(value) for name, value in inputs.items()}
        outputs = self._send("POST", ":predict", {"signature_name": signature, "inputs": values})["outputs"]
        named = outputs if isinstance(outputs, dict) else {"": outputs}
        return {name: np.asarray(value) for name, value in named.items()}

    def classify(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """`probabilities` [B, classes] and `classes` [B] of uint8 images [B, H, W, C]; see `predict`."""
        return self.predict({"images": images})

    def classify_files(self, files: Sequence[bytes]) -> dict[str, np.ndarray]:
        """`probabilities` [B, classes] and `classes` [B] of the bytes of PNG or JPEG files; see `predict`."""
        return self.predict({"image_bytes": files}, "serving_bytes")

    def status(self) -> list[dict[str, Any]]:
        """The model's versions and their states."""
        return self._send("GET", "")["model_version_status"]

    def metadata(self) -> dict[str, Any]:
        """The model's signatures and, from metaaug_tf.export.serve, the export's own metadata."""
        return self._send("GET", "/metadata")["metadata"]

    def _send(self, method: str, path: str, value: Any = None) -> dict[str, Any]:
        try:
            answer = self._session.request(method, self._base + path, json=value, timeout=self._timeout)
            content = answer.json()
        except requests.RequestException as error:
            raise ServingError(f"{self._base}{path} gives no answer: {error}") from error
        if answer.status_code != requests.codes.ok:
            raise ServingError(f"{self._base}{path}: {content.get('error', content)}", answer.status_code)
        return content


def _encoded(value: Any) -> Any:
    """An array as lists; bytes as {"b64": ...}."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list | tuple) and value and isinstance(value[0], bytes):
        return [_encoded(item) for item in value]
    return np.asarray(value).tolist()
