"""Named arrays from .npz files that nobody vouches for: no pickle, and no more memory than is allowed."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

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
