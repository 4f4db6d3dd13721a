"""Files that are whole or as they were before, and reading them without trust in what they hold."""

import fcntl
import glob
import hashlib
import io
import json
import math
import os
import shutil
import threading
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

# Far above any file of a run: the rows of all epochs in checkpoint.json take 0.6 kB each.
MOST_JSON_BYTES = 2**28
# Files and folders of this name are being written, or were when their process was killed; they mean nothing.
ASIDE_PREFIX = ".part."


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yields a file to write beside `path` and renames it to `path` at the end.

    No reader, no crash and no loss of power ever leaves half of it: its content is on the disk before it is renamed.
    Where writing fails it is removed, and `path` is as it was. Its name ends as that of `path` does.

    Raises:
        OSError: it can't be written.
    """
    with _aside(path) as aside:
        yield aside
        _bring_to_disk(aside)
        _rename(aside, path)


@contextmanager
def folder_written_aside(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill beside `path` and renames it to `path` at the end, as `written_aside` does.

    A folder that is at `path` then has to be empty.

    Raises:
        OSError: it can't be written, or `path` is in use.
    """
    with _aside(path) as aside:
        aside.mkdir()
        yield aside
        for entry in (*aside.rglob("*"), aside):
            _bring_to_disk(entry)
        _rename(aside, path)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Waits until no other process is within this for the folder; leaves no file in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # freed when the process ends in whatever way
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Yields a free path beside `path` that no other process or thread writes to; removes in the end what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{ASIDE_PREFIX}{os.getpid()}.{threading.get_ident()}.{path.name}")
    _remove_abandoned(path)
    _remove(aside)  # a link that somebody left there would be written through
    try:
        yield aside
    finally:
        _remove(aside)


def _remove_abandoned(path: Path) -> None:
    """Removes what killed processes left beside `path` when they wrote it."""
    for entry in path.parent.glob(f"{ASIDE_PREFIX}*.{glob.escape(path.name)}"):
        process = entry.name.removeprefix(ASIDE_PREFIX).split(".")[0]
        if process.isdecimal() and not _is_running(int(process)):
            with suppress(OSError):  # it may be another user's
                _remove(entry)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _rename(aside: Path, path: Path) -> None:
    os.replace(aside, path)
    _bring_to_disk(path.parent)  # which holds the names


def _bring_to_disk(path: Path) -> None:
    """Waits until a file's content or a folder's list of names would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def dispensable(path: Path, follows: str) -> Iterator[None]:
    """Warns where a file that training can do without can't be written; training continues.

    Args:
        path: the file, for the warning.
        follows: what becomes of its content, for the warning, e.g. "its row follows with the next".
    """
    try:
        yield
    except OSError as error:
        warnings.warn(f"{path} can't be written: {error.strerror or error}; {follows}", stacklevel=3)


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Writes `value` as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def read_json(path: Path) -> Any:
    """The value that a JSON file holds.

    Raises:
        OSError: it can't be read.
        ValueError: it isn't JSON, is nested too deep to be read, or is larger than MOST_JSON_BYTES.
    """
    return _parsed(_json_bytes(path))


def read_json_lines(path: Path) -> list[tuple[int, Any]]:
    """Reads a file of one JSON value a line.

    A last line that was cut off, as in a file that is being written, is left out; so are empty ones.

    Returns:
        (the line's number from 1, its value) in order.

    Raises:
        OSError: it can't be read.
        ValueError: a line isn't JSON, or the file is larger than MOST_JSON_BYTES; the message names the line.
    """
    *lines, rest = _json_bytes(path).split(b"\n")
    values = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                values.append((number, _parsed(line)))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    with suppress(ValueError):
        values.append((len(lines) + 1, _parsed(rest)))
    return values


def _json_bytes(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MOST_JSON_BYTES:
        raise ValueError(f"{size} bytes are more than the {MOST_JSON_BYTES} that a JSON file may have")
    return path.read_bytes()


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: Path, most_bytes: int) -> dict[str, np.ndarray]:
    """All arrays of an .npz file by name.

    The names are keys only: nothing is written anywhere, so a name like ../x is harmless.

    Args:
        path: the file.
        most_bytes: what they may take in memory together.

    Raises:
        OSError: it can't be read.
        ValueError: it isn't an .npz file, is damaged, holds Python objects, or its arrays take more than `most_bytes`
            or claim another size than is there.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if claimed > most_bytes:
                raise ValueError(f"its arrays take {claimed} bytes, at most {most_bytes} are allowed")
            return {member.filename.removesuffix(".npy"): _array(_content(archive, member)) for member in members}
    except (OSError, ValueError):
        raise
    except Exception as error:  # archive, decompressors and numpy's parser of headers each raise kinds of their own
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as stream:
        return stream.read(member.file_size)  # without a number zipfile would decompress all first, then cut


def _array(content: bytes) -> np.ndarray:
    """The array in the bytes of an .npy file; its header is not believed about the size."""
    stream = io.BytesIO(content)
    version = npy.read_magic(stream)
    if version not in _HEADER_READERS:
        raise ValueError(f"an array of the unknown format version {version}")
    shape, by_column, dtype = _HEADER_READERS[version](stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which only pickle could read; it is not loaded")
    there = len(content) - stream.tell()
    if math.prod(shape) * dtype.itemsize != there or min(shape, default=0) < 0:
        raise ValueError(f"an array that claims the shape {shape} of {dtype} has {there} bytes")
    array = np.frombuffer(content, dtype, offset=stream.tell()) if there else np.empty(0, dtype)
    return array.reshape(shape, order="F" if by_column else "C").copy()
