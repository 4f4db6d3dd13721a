"""An exported SavedModel as a server holds it: found, loaded, warmed up, called."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.export.savedmodel import METADATA_FILE, read_metadata, versions
from metaaug_tf.export.server.batcher import Arrays, Batcher, Tensors
from metaaug_tf.export.server.rest import Request, RequestError, Specs, parse_request, request_tensors, response_json
from metaaug_tf.export.warmup import read_warmup

_LONGEST_MESSAGE = 500


def find_version(folder: Path) -> Path:
    """The SavedModel in `folder`, or the newest version below it.

    Raises:
        UserError: there is none.
    """
    if (folder / "saved_model.pb").is_file():
        return folder
    found = versions(folder) if folder.is_dir() else []
    if not found or not (folder / str(found[-1]) / "saved_model.pb").is_file():
        raise UserError(
            f"{folder} is not an export: it holds neither saved_model.pb nor numbered versions of one; "
            "give for example --model=runs/demo/export/task"
        )
    return folder / str(found[-1])


class ServedModel:
    """A loaded export.

    Attributes:
        version: its number as text; 1 where the folder's name is none.
        max_batch: most examples a request may hold.
    """

    def __init__(self, folder: Path, max_batch: int):
        """Loads the newest version and runs its warm-up requests.

        Args:
            folder: see find_version.
            max_batch: most examples a request may hold.

        Raises:
            UserError: there is no export, or it can't be loaded.
        """
        path = find_version(folder)
        try:
            self._model = tf.saved_model.load(str(path))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{path} can't be loaded as a SavedModel: {str(error)[:_LONGEST_MESSAGE]}") from error
        self.version = path.name if path.name.isdigit() else "1"
        self.max_batch = max_batch
        self._path = path
        for signature, inputs in read_warmup(path):
            self._call(signature, {name: tf.constant(value) for name, value in inputs.items()})
        self._batcher = Batcher(self._call, max_batch)

    def predict(self, body: bytes) -> bytes:
        """Answers a predict request, JSON to JSON.

        Raises:
            RequestError: the request can't be answered.
        """
        request = parse_request(body)
        tensors = request_tensors(request, self._inputs(request.signature), self.max_batch)
        try:
            outputs = self._batcher.call(request.signature, tensors)
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(_plain(error)) from error
        return response_json(request, {name: _checked(request, output) for name, output in outputs.items()})

    def _call(self, signature: str, inputs: Tensors) -> Arrays:
        return {name: value.numpy() for name, value in self._model.signatures[signature](**inputs).items()}

    def _inputs(self, signature: str) -> Specs:
        if signature not in self._model.signatures:
            raise RequestError(f"there is no signature {signature!r}; there are {sorted(self._model.signatures)}")
        return self._model.signatures[signature].structured_input_signature[1]

    def metadata(self) -> dict[str, Any]:
        """The signatures in the form of TensorFlow Serving's metadata, and the export's own metadata."""
        signatures = {
            name: {
                "inputs": {key: _tensor_info(spec) for key, spec in self._inputs(name).items()},
                "outputs": {key: _tensor_info(spec) for key, spec in function.structured_outputs.items()},
                "method_name": "tensorflow/serving/predict",
            }
            for name, function in self._model.signatures.items()
        }
        own = read_metadata(self._path) if (self._path / "assets" / METADATA_FILE).is_file() else {}
        return {"signature_def": {"signature_def": signatures}, "export": own}


def _tensor_info(spec: tf.TensorSpec) -> dict[str, Any]:
    dims = [{"size": str(-1 if size is None else size), "name": ""} for size in spec.shape]
    dtype = tf.dtypes.as_dtype(spec.dtype)
    shape = {"dim": dims, "unknown_rank": False}
    return {"dtype": f"DT_{dtype.name.upper()}", "tensor_shape": shape, "name": spec.name or ""}


def _checked(request: Request, output: np.ndarray) -> np.ndarray:
    """The output, once JSON can hold it."""
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        raise RequestError(f"the signature {request.signature!r} gives values that are not finite for this input", 422)
    return output


def _plain(error: tf.errors.OpError) -> str:
    """What TensorFlow says is wrong, without the names of nodes."""
    lines = [line.strip() for line in error.message.splitlines() if line.strip()]
    said = [line for line in lines if "assertion failed" in line] or [
        line for line in lines if not line.startswith(("Graph execution error", "Detected at node", "<stack", "[["))
    ]
    text = (said or lines or ["the request can't be computed"])[0]
    if "assertion failed: " in text:
        text = text.split("assertion failed: ", 1)[1].replace("] [", " ").strip("[]")
    return json.dumps(text[:_LONGEST_MESSAGE])[1:-1]
