"""An exported SavedModel as a server holds it: found, loaded, warmed up; turns requests into jobs."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.export.savedmodel import METADATA_FILE, read_metadata, versions
from metaaug_tf.export.server.batcher import SLICE_SECONDS, Arrays, Job
from metaaug_tf.export.server.rest import RequestError, Specs, parse_request, request_arrays, response_json
from metaaug_tf.export.server.work import input_work
from metaaug_tf.export.warmup import read_warmup

_LONGEST_MESSAGE = 500
# To decode and resize a pixel, on a core that is shared: 7 ns for a plain PNG on a quiet one, 40 ns for one of noise.
_SECONDS_PER_PIXEL = 12e-9
# Bytes of JSON for a number.
_BYTES_PER_VALUE = 12
_TIMED_EXAMPLES = 8
# Image sizes for which a model compiled by XLA is compiled; each takes seconds, and its code is kept.
MAX_COMPILED_SIZES = 16


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes:
        examples: most examples, and most that are computed at once.
        pixels: most pixels of all its images together; each scan of a JPEG beyond the first counts a third.
    """

    examples: int
    pixels: int = 2**27


def find_version(folder: Path) -> Path:
    """The SavedModel in `folder`, or the newest version below it.

    Raises:
        UserError: there is none.
    """
    if (folder / "saved_model.pb").is_file():
        return folder
    found = versions(folder) if folder.is_dir() else []
    complete = [number for number in found if (folder / str(number) / "saved_model.pb").is_file()]
    if not complete:
        raise UserError(
            f"{folder} is not an export: it holds neither saved_model.pb nor numbered versions of one; "
            "give for example --model=runs/demo/export/task"
        )
    return folder / str(complete[-1])


class ServedModel:
    """A loaded export.

    Attributes:
        path: its folder.
        version: its number as text; 1 where the folder's name is none.
    """

    def __init__(self, path: Path, limits: Limits):
        """Loads a version and runs its warm-up requests, each twice: the second time says what an example costs.

        Args:
            path: a SavedModel's folder, see find_version.
            limits: of a request.

        Raises:
            UserError: it can't be loaded, or doesn't compute its warm-up requests.
        """
        try:
            self._model = tf.saved_model.load(str(path))
            self.path = path
            self.version = path.name if path.name.isdigit() else "1"
            self._limits = limits
            self._compiled = {name: _is_compiled(function) for name, function in self._model.signatures.items()}
            self._specs = {name: f.structured_input_signature[1] for name, f in self._model.signatures.items()}
            self._answers = {name: _answer_sizes(function) for name, function in self._model.signatures.items()}
            self._asked: set = set()
            self._ready: set = set()
            self._seconds = dict.fromkeys(self._model.signatures, 0.001)
            for signature, inputs in read_warmup(path):
                self._warm(signature, inputs)
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise UserError(f"{path} can't be loaded as a SavedModel: {str(error)[:_LONGEST_MESSAGE]}") from error

    def job(self, body: bytes | bytearray) -> Job:
        """What a predict request asks for; its `finish` gives the JSON of the answer.

        Raises:
            RequestError: the request can't be answered.
        """
        request = parse_request(body)
        signature = request.signature
        inputs = request_arrays(request, self._inputs(signature), self._limits.examples)
        seconds = [self._seconds[signature] + _SECONDS_PER_PIXEL * work for work in self._bounded_work(inputs)]
        cuttable = bool(seconds) and all(array.ndim for array in inputs.values())
        return Job(
            function=lambda arrays: self.call(signature, arrays),
            inputs=inputs,
            seconds=seconds if cuttable else [sum(seconds)],
            key=(id(self), _key(signature, inputs)) if cuttable else None,
            lane=self._lane(signature, inputs, seconds),
            finish=lambda outputs: response_json(request, outputs),
            answer_bytes=_BYTES_PER_VALUE * self._output_values(signature, inputs),
        )

    def _bounded_work(self, inputs: Arrays) -> list[int]:
        """The work of each example in pixels."""
        works = [input_work(array) for array in inputs.values() if array.ndim]
        work = works[0] if len(works) == 1 else [sum(parts) for parts in zip(*works, strict=True)]
        if sum(work) > self._limits.pixels:
            raise RequestError(
                f"the images of a request may have at most {self._limits.pixels} pixels together, not {sum(work)}; "
                "of a JPEG each scan beyond the first counts a third of its pixels",
                413,
            )
        return work

    def _lane(self, signature: str, inputs: Arrays, seconds: list[float]) -> str:
        key = _key(signature, inputs)
        if self._compiled[signature] and key not in self._ready:
            if key not in self._asked and len(self._asked) >= MAX_COMPILED_SIZES:
                raise RequestError(
                    f"{signature!r} is compiled for each size of images, and has had {MAX_COMPILED_SIZES} sizes; "
                    "resize the images to one of them"
                )
            self._asked.add(key)
            return "new"
        alone = len(seconds) == 1 and seconds[0] - self._seconds[signature] <= SLICE_SECONDS
        return "small" if alone or sum(seconds) <= SLICE_SECONDS else "large"

    def _output_values(self, signature: str, inputs: Arrays) -> int:
        """About the number of values in the outputs; those without a size in the signature are as large as an input."""
        known, unknown = self._answers[signature]
        examples = max((len(array) for array in inputs.values() if array.ndim), default=1)
        return examples * known + unknown * max(array.size for array in inputs.values())

    def _warm(self, signature: str, inputs: Arrays) -> None:
        self.call(signature, inputs)
        if all(array.ndim for array in inputs.values()):
            inputs = {name: np.repeat(array, _TIMED_EXAMPLES, axis=0) for name, array in inputs.items()}
        examples = max((len(array) for array in inputs.values() if array.ndim), default=1)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            self.call(signature, inputs)
            times.append(time.perf_counter() - start)
        self._seconds[signature] = min(times) / examples

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        """The outputs of a signature by name; takes seconds where the model is compiled for a size it hasn't had."""
        tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in self._inputs(signature).items()}
        outputs = {name: value.numpy() for name, value in self._model.signatures[signature](**tensors).items()}
        self._ready.add(_key(signature, inputs))
        return outputs

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
        own = read_metadata(self.path) if (self.path / "assets" / METADATA_FILE).is_file() else {}
        return {"signature_def": {"signature_def": signatures}, "export": own}

    def _inputs(self, signature: str) -> Specs:
        if signature not in self._specs:
            raise RequestError(f"there is no signature {signature!r}; there are {sorted(self._specs)}")
        return self._specs[signature]


def request_error(error: tf.errors.InvalidArgumentError, first: int) -> RequestError:
    """What TensorFlow says is wrong with a request, without the names of nodes.

    Args:
        error: raised by a call.
        first: how many examples of the request came before those of the call, which counts its own.
    """
    lines = [line.strip() for line in error.message.splitlines() if line.strip()]
    said = [line for line in lines if "assertion failed" in line] or [
        line for line in lines if not line.startswith(("Graph execution error", "Detected at node", "<stack", "[["))
    ]
    text = (said or lines or ["the request can't be computed"])[0]
    if "assertion failed: " in text:
        text = text.split("assertion failed: ", 1)[1].replace("] [", " ").strip("[]")
    text = re.sub(r"\bimage (\d+)", lambda found: f"image {int(found[1]) + first}", text)
    return RequestError(json.dumps(text[:_LONGEST_MESSAGE])[1:-1])


def _key(signature: str, inputs: Arrays) -> tuple:
    """Equal for requests whose examples are alike, and for which the model is compiled once."""
    return signature, tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))


def _is_compiled(function: Any) -> bool:
    """Whether the signature calls functions that XLA compiles."""
    return any(part.attr["_XlaMustCompile"].b for part in function.graph.as_graph_def().library.function)


def _answer_sizes(function: Any) -> tuple[int, int]:
    """Values of each example in the outputs whose sizes are known, and the number of outputs with others."""
    shapes = [spec.shape[1:] for spec in function.structured_outputs.values()]
    known = [shape.num_elements() for shape in shapes if shape.is_fully_defined()]
    return sum(known), len(shapes) - len(known)


def _tensor_info(spec: tf.TensorSpec) -> dict[str, Any]:
    dims = [{"size": str(-1 if size is None else size), "name": ""} for size in spec.shape]
    dtype = tf.dtypes.as_dtype(spec.dtype)
    shape = {"dim": dims, "unknown_rank": False}
    return {"dtype": f"DT_{dtype.name.upper()}", "tensor_shape": shape, "name": spec.name or ""}
