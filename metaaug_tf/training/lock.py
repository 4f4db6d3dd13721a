"""A lock on a run's folder that dies with its owner."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metaaug_tf.errors import UserError

LOCK_FILE = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system frees it when the process ends in whatever way.

    Raises:
        UserError: another process holds it, or its file can't be written.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"the workdir {folder} can't be written: {error.strerror}; choose another --workdir") from error
    try:
        _take(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def check_free(folder: Path) -> None:
    """Refuses a folder that another process holds; leaves it as it is.

    Raises:
        UserError: it is held.
    """
    if (folder / LOCK_FILE).is_file():
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
        try:
            _take(descriptor, folder)
        finally:
            os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
        raise UserError(
            f"the workdir {folder} is in use by another process (number {owner} on its machine); wait for it, stop "
            "it, or choose another --workdir"
        ) from error
