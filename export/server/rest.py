"""The predict protocol of TensorFlow Serving's REST API: requests to tensors, results to JSON.

Reference: https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

Specs = Mapping[str, tf.TensorSpec]
DEFAULT_SIGNATURE = "serving_default"


class RequestError(ValueError):
    """A request that can't be answered.

    Attributes:
        status: HTTP status, 4xx.
    """

    def __init__(self, message: str, status: int = 400):
        """Says what is wrong with the request."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """A predict request.

    Attributes:
        signature: name of the signature.
        by_row: examples were given one by one ("instances"), and so are the results.
        values: what stood under "instances" or "inputs".
    """

    signature: str
    by_row: bool
    values: Any


def parse_request(body: bytes) -> Request:
    """Reads the JSON of a predict request.

    Raises:
        RequestError: it isn't JSON, or holds not exactly one of "instances" and "inputs".
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the request is not JSON: {error}") from error
    if not isinstance(value, dict) or ("instances" in value) == ("inputs" in value):
        raise RequestError('the request must be a JSON object with either "instances" or "inputs"')
    signature = value.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(signature, str):
        raise RequestError('"signature_name" must be a string')
    by_row = "instances" in value
    if by_row and not (isinstance(value["instances"], list) and value["instances"]):
        raise RequestError('"instances" must be a list of at least one example')
    return Request(signature, by_row, value["instances" if by_row else "inputs"])


def request_tensors(request: Request, specs: Specs, max_batch: int) -> dict[str, tf.Tensor]:
    """The tensors of a request.

    Args:
        request: the request.
        specs: of the signature's inputs, by name.
        max_batch: most examples allowed.

    Raises:
        RequestError: inputs are missing or unknown, or values don't fit their spec; tells which.
    """
    columns = _columns(request.values, specs) if request.by_row else _named(request.values, specs)
    if set(columns) != set(specs):
        raise RequestError(f"the signature {request.signature!r} takes {sorted(specs)}, not {sorted(columns)}")
    tensors = {name: _tensor(name, columns[name], spec) for name, spec in specs.items()}
    sizes = {tensor.shape[0] for tensor in tensors.values() if tensor.shape.rank}
    if len(sizes) > 1:
        raise RequestError(f"the inputs have different numbers of examples: {sorted(sizes)}")
    if max(sizes, default=0) > max_batch:
        raise RequestError(f"at most {max_batch} examples a request, not {max(sizes)}")
    return tensors


def response_json(request: Request, outputs: Mapping[str, np.ndarray]) -> bytes:
    """The JSON of the results: "predictions" row by row, or "outputs" by name; a single output stands without name."""
    values = {name: output.tolist() for name, output in outputs.items()}
    single = next(iter(values.values())) if len(values) == 1 else None
    if not request.by_row:
        return _dump({"outputs": values if single is None else single})
    if single is None:
        single = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _dump({"predictions": single})


def _dump(value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _is_bytes(value) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def _named(values, specs: Specs) -> Mapping[str, Any]:
    if isinstance(values, dict) and not _is_bytes(values):
        return values
    if len(specs) != 1:
        raise RequestError(f'the signature has several inputs: give "inputs" by name, {sorted(specs)}')
    return {next(iter(specs)): values}


def _columns(rows: list, specs: Specs) -> dict[str, list]:
    scalars = [name for name, spec in specs.items() if not spec.shape.rank]
    if scalars:
        raise RequestError(f'{scalars} has no value per example: give "inputs" by name instead of "instances"')
    named = [_named(row, specs) for row in rows]
    if any(set(row) != set(named[0]) for row in named):
        raise RequestError("all instances must have the same inputs")
    return {name: [row[name] for row in named] for name in named[0]}


def _tensor(name: str, value, spec: tf.TensorSpec) -> tf.Tensor:
    array = _strings(name, value) if spec.dtype == tf.string else _numbers(name, value, spec.dtype.as_numpy_dtype)
    if not spec.shape.is_compatible_with(array.shape):
        raise RequestError(f"{name!r} must have shape {_shown(spec.shape)}, not {list(array.shape)}")
    return tf.constant(array, spec.dtype)


def _shown(shape: tf.TensorShape) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _numbers(name: str, value, dtype) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise RequestError(f"{name!r} must be a rectangular array: {error}") from error
    integer = np.issubdtype(dtype, np.integer)
    if array.dtype.kind not in ("iu" if integer else "iuf"):
        raise RequestError(f"{name!r} must hold {'integers' if integer else 'numbers'} in a rectangular array")
    if integer and array.size:
        allowed = np.iinfo(dtype)
        if array.min() < allowed.min or array.max() > allowed.max:
            raise RequestError(f"{name!r} must hold integers from {allowed.min} to {allowed.max}")
    return array.astype(dtype)


def _strings(name: str, value) -> np.ndarray:
    values = value if isinstance(value, list) else [value]
    array = np.empty(len(values), object)
    array[:] = [_bytes(name, item) for item in values]
    return array if isinstance(value, list) else array[0:1].reshape(())


def _bytes(name: str, value) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_bytes(value) or not isinstance(value["b64"], str):
        raise RequestError(f'{name!r} must hold strings, or bytes as {{"b64": "..."}}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise RequestError(f"{name!r} is not valid base64: {error}") from error
