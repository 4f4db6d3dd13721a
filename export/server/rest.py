"""The predict protocol of TensorFlow Serving's REST API: requests to arrays, results to JSON.

Reference: https://www.tensorflow.org/tfx/serving/api_rest
"""

import binascii
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from metaaug_tf.export.savedmodel import DEFAULT_SIGNATURE

Specs = Mapping[str, tf.TensorSpec]
# Values that are made an array at once; nothing else can run in Python meanwhile.
_VALUES_AT_ONCE = 2**16


class RequestError(ValueError):
    """A request that can't be answered.

    Attributes:
        status: HTTP status, 4xx or 503.
        retry_after: seconds after which the same request may be answered; None if it never will.
    """

    def __init__(self, message: str, status: int = 400, retry_after: int | None = None):
        """Says what is wrong with the request."""
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


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


def parse_request(body: bytes | bytearray) -> Request:
    """Reads the JSON of a predict request.

    Raises:
        RequestError: it isn't JSON, or holds not exactly one of "instances" and "inputs".
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
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


def request_arrays(request: Request, specs: Specs, max_batch: int) -> dict[str, np.ndarray]:
    """The inputs of a request by name, strings as arrays of bytes objects.

    Args:
        request: the request.
        specs: of the signature's inputs, by name.
        max_batch: most examples allowed.

    Raises:
        RequestError: inputs are missing or unknown, or values don't fit their spec; says which.
    """
    columns = _columns(request.values, specs) if request.by_row else _named(request.values, specs)
    if set(columns) != set(specs):
        raise RequestError(f"the signature {request.signature!r} takes {sorted(specs)}, not {sorted(columns)}")
    for name, spec in specs.items():  # before they are read, which costs
        if spec.shape.rank and isinstance(columns[name], list) and len(columns[name]) > max_batch:
            raise RequestError(f"at most {max_batch} examples a request, not {len(columns[name])}")
    arrays = {name: _array(name, columns[name], spec) for name, spec in specs.items()}
    sizes = {array.shape[0] for array in arrays.values() if array.ndim}
    if len(sizes) > 1:
        raise RequestError(f"the inputs have different numbers of examples: {sorted(sizes)}")
    return arrays


def response_json(request: Request, outputs: Mapping[str, np.ndarray]) -> bytes:
    """The JSON of the results: "predictions" row by row, or "outputs" by name; a single output stands without name.

    Raises:
        RequestError: with status 422, if an output holds values that JSON can't.
    """
    for output in outputs.values():
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise RequestError(
                f"the signature {request.signature!r} gives values that are not finite for this input", 422
            )
    values = {name: np.ascontiguousarray(output) for name, output in outputs.items()}
    single = next(iter(values.values())) if len(values) == 1 else None
    if not request.by_row:
        return _dump({"outputs": values if single is None else single})
    if single is not None:
        return _dump({"predictions": single})
    return _dump({"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]})


def _dump(value) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


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


def _array(name: str, value, spec: tf.TensorSpec) -> np.ndarray:
    array = _strings(name, value) if spec.dtype == tf.string else _numbers(name, value, spec.dtype.as_numpy_dtype)
    if not _fits(array.shape, spec.shape):
        raise RequestError(f"{name!r} must have shape {_shown(spec.shape)}, not {list(array.shape)}")
    return array


def _fits(shape: tuple[int, ...], spec: tf.TensorShape) -> bool:
    sizes = _sizes(spec)
    return len(shape) == len(sizes) and all(size in (None, given) for given, size in zip(shape, sizes, strict=True))


@functools.cache  # a signature's, of which there are few; asking TensorFlow takes longer than the rest of a request
def _sizes(spec: tf.TensorShape) -> tuple[int | None, ...]:
    return tuple(spec)


def _shown(shape: tf.TensorShape) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _numbers(name: str, value, dtype) -> np.ndarray:
    try:
        if isinstance(value, list) and len(value) > 1 and _size(value) > _VALUES_AT_ONCE:
            return np.stack([_numbers(name, part, dtype) for part in value])
        array = np.asarray(value)
    except RequestError:
        raise
    except (ValueError, OverflowError) as error:
        raise RequestError(f"{name!r} must be a rectangular array: {error}") from error
    integer = np.issubdtype(dtype, np.integer)
    if array.dtype.kind not in ("iu" if integer else "iuf"):
        raise RequestError(f"{name!r} must hold {'integers' if integer else 'numbers'} in a rectangular array")
    if integer and array.size:
        allowed = np.iinfo(dtype)
        if array.min() < allowed.min or array.max() > allowed.max:
            raise RequestError(f"{name!r} must hold integers from {allowed.min} to {allowed.max}")
    return array.astype(dtype)


def _size(value) -> int:
    """The number of values in nested lists whose first parts are like the others."""
    size = 1
    while isinstance(value, list) and value:
        size *= len(value)
        value = value[0]
    return size


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
        return binascii.a2b_base64(value["b64"], strict_mode=True)
    except ValueError as error:  # not ASCII, or binascii.Error
        raise RequestError(f"{name!r} is not valid base64: {error}") from error
