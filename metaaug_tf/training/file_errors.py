"""TensorFlow's errors about files, as the OSError that Python itself would raise."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


@contextmanager
def file_errors_as_os_errors() -> Iterator[None]:
    """Raises OSError where TensorFlow could not write a file; its other errors pass.

    A full disk and a lack of memory are both ResourceExhaustedError there; only the system's own text tells them apart.

    Raises:
        OSError: with the system's number and text.
    """
    try:
        yield
    except tf.errors.OpError as error:
        number = next((number for number in _NUMBERS if os.strerror(number) in error.message), None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), error.message.split(";")[0].split("}} ")[-1]) from error
