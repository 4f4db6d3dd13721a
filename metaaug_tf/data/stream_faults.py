"""Files of a streamed dataset that can't be read any more, hours after training began: which one, and where in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
from tensorflow_datasets.core.utils.shard_utils import FileInstruction

from metaaug_tf.data.examples import Examples
from metaaug_tf.data.stream import StreamedExamples
from metaaug_tf.errors import UserError


@contextmanager
def broken_files_named(*sets: Examples | StreamedExamples) -> Iterator[None]:
    """Names the file where input failed; TensorFlow tells neither it nor the record. Other errors pass.

    Args:
        *sets: what is being read; those in memory can't fail.

    Raises:
        UserError: a file can't be read, ends too early or holds an image that can't be decoded.
    """
    try:
        yield
    except tf.errors.OpError as error:
        streamed = [examples for examples in sets if isinstance(examples, StreamedExamples)]
        fault = first_fault(streamed) if input_failed(error) else ""
        if not fault:
            raise
        raise UserError(
            f"{fault}. Mend the file (or prepare the dataset again); the same command goes on from the newest "
            "checkpoint, if there is one."
        ) from error


def input_failed(error: tf.errors.OpError) -> bool:
    """Whether it came from the input of a step, which then was not begun."""
    return "IteratorGetNext" in error.message


def first_fault(sets: list[StreamedExamples]) -> str:
    """What is wrong with the first file that is; reads them to the end. "" where nothing is."""
    faults = (_fault(examples, file) for examples in sets for file in examples.files)
    return next(filter(None, faults), "")


def _fault(examples: StreamedExamples, file: FileInstruction) -> str:
    records = tf.data.TFRecordDataset(file.filename).skip(file.skip).take(file.take)
    images = records.map(examples.whole_image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    good = 0
    try:
        for _ in images.map(tf.size):
            good += 1
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0].split("}} ")[-1].split(" [Op:")[0]
        return f"{file.filename}: record {file.skip + good} (from 0) can't be read: {reason}"
    return "" if good == file.take else f"{file.filename} ends after {file.skip + good} records"
