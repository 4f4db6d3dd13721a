"""Files that are whole or as they were before, and reading them without trust in what they hold."""

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

# Far above any file of a run: the sampler's history takes 2 kB an epoch.
MOST_JSON_BYTES = 2**28
# A killed process leaves such files behind; they mean nothing.
ASIDE_PREFIX = ".part."


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, renamed to it at the end, so that no reader and no crash sees half of it.

    Where writing fails it is removed, and `path` is as it was. Its name ends as that of `path` does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{ASIDE_PREFIX}{path.name}")
    aside.unlink(missing_ok=True)  # a link that somebody left there would be written through
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


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
    size = path.stat().st_size
    if size > MOST_JSON_BYTES:
        raise ValueError(f"{size} bytes are more than the {MOST_JSON_BYTES} that a JSON file may have")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
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
