"""Warm-up requests: what TensorFlow Serving runs when it loads a model, so that no user waits for compilations.

Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from metaaug_tf.data.sources.records import record_fault

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warmup(path: Path, model_name: str, requests: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Writes assets.extra/tf_serving_warmup_requests: a TFRecord of PredictionLog, one per signature.

    Args:
        path: the SavedModel's folder.
        model_name: under which it is served.
        requests: inputs by name, by signature.
    """
    target = path / WARMUP_FILE
    target.parent.mkdir()
    with tf.io.TFRecordWriter(str(target)) as writer:
        for signature, inputs in requests.items():
            writer.write(_log(model_name, signature, inputs).SerializeToString())


def read_warmup(path: Path) -> list[tuple[str, dict[str, np.ndarray]]]:
    """The (signature, inputs by name) of the warm-up requests of the SavedModel in `path`; none without a file.

    Raises:
        ValueError: the file is damaged.
    """
    source = path / WARMUP_FILE
    if not source.is_file():
        return []
    if fault := record_fault(source):  # TensorFlow would reserve the memory that a damaged length asks for
        raise ValueError(f"{source} is damaged: {fault}; export again")
    found = []
    for record in tf.data.TFRecordDataset(str(source)).as_numpy_iterator():
        try:
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        except DecodeError as error:
            raise ValueError(f"{source} holds no requests of TensorFlow Serving; export again") from error
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def _log(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model_name, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
