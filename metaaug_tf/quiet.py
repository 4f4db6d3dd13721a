"""What the terminal shows: without TensorFlow's start-up lines, and never a reason to end a training."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drops what native code writes to stderr; TensorFlow's start-up lines heed no log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    kept = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _Dispensable:
    """A text stream whose writes may fail: the reader is gone, or a log's disk is full."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextlib.contextmanager
def dispensable_output() -> Iterator[None]:
    """Lets what is printed be lost where it can't be written; what is done meanwhile matters more."""
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Dispensable, kept)  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in kept:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = kept


def open_missing_output() -> None:
    """Gives a process that was started without standard output or error one that leads nowhere."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, it stays open
            os.dup2(nowhere.fileno(), descriptor)
            setattr(sys, name, nowhere)


def drop_unwritten_output() -> None:
    """Forgets what Python could not print, which would turn the exit code into 120 at the interpreter's end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
