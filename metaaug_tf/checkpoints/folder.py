"""The files of checkpoints: written aside and renamed, with checksums, so that the newest whole one can be found.

A checkpoint is a folder EPOCH-STEP with
    tensors.npz      arrays, read without pickle
    checkpoint.json  where training was, and the small state of callbacks
    SHA256SUMS       of both, as `sha256sum -c` reads it
"""

import errno
import io
import json
import re
import shutil
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaaug_tf.errors import UserError
from metaaug_tf.files import folder_written_aside, read_arrays, read_json, sha256_of

TENSORS_FILE, METADATA_FILE, SUMS_FILE = "tensors.npz", "checkpoint.json", "SHA256SUMS"
_NAME = re.compile(r"\d{6}-\d{9}")
# Removing older checkpoints helps against these errors and no others.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# Only a training that writes checkpoints faster than they are read needs this number.
_MOST_READINGS = 20


@dataclass(frozen=True, order=True)
class Position:
    """Where training is: `step` steps of epoch `epoch` are done (both from 0)."""

    epoch: int = 0
    step: int = 0

    @property
    def folder_name(self) -> str:
        """Name of the checkpoint at this position; names sort as positions do."""
        return f"{self.epoch:06d}-{self.step:09d}"


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Attributes:
        position: where training was.
        tensors: arrays by name.
        metadata: everything else that was stored, JSON values.
    """

    position: Position
    tensors: Mapping[str, np.ndarray]
    metadata: Mapping[str, Any]

    def metadata_json(self) -> str:
        """Returns the metadata with the position among them, as METADATA_FILE holds them."""
        metadata = {**self.metadata, "epoch": self.position.epoch, "step": self.position.step}
        return json.dumps(metadata, default=float)

    def to_bytes(self) -> bytes:
        """Returns all of it, without pickle, to be sent to other workers."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(self.tensors), **{METADATA_FILE: np.array(self.metadata_json())})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """Returns the checkpoint that `to_bytes` turned into these bytes."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            tensors = dict(arrays)
        metadata = json.loads(str(tensors.pop(METADATA_FILE)))
        return cls(Position(metadata["epoch"], metadata["step"]), tensors, metadata)


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, path: Path, keep: int = 3):
        """Names the folder; nothing is created or read.

        Args:
            path: where the checkpoints are.
            keep: how many of the newest are kept, at least 1.
        """
        self.path, self.keep = Path(path), keep

    def names(self) -> list[str]:
        """Returns the names of the checkpoints, whole or not, the newest first."""
        if not self.path.is_dir():
            return []
        return sorted((entry.name for entry in self.path.iterdir() if _NAME.fullmatch(entry.name)), reverse=True)

    def write(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint and removes those no longer kept.

        Where there is no room (a full disk, a quota), it removes all older ones but the newest and tries once more.

        Raises:
            OSError: the checkpoint can't be written. The newest one before it is still there, and so are the others
                unless there was no room.
        """
        try:
            self._write_aside_and_rename(checkpoint)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._keep([name for name in self.names() if name < checkpoint.position.folder_name][:1])
            self._write_aside_and_rename(checkpoint)
        self._keep([name for name in self.names() if name <= checkpoint.position.folder_name][: self.keep])

    def _write_aside_and_rename(self, checkpoint: Checkpoint) -> None:
        final = self.path / checkpoint.position.folder_name
        with folder_written_aside(final) as aside:
            with (aside / TENSORS_FILE).open("wb") as file:
                np.savez(file, allow_pickle=False, **dict(checkpoint.tensors))
            (aside / METADATA_FILE).write_text(checkpoint.metadata_json(), encoding="utf-8")
            sums = [f"{sha256_of(aside / name)}  {name}\n" for name in (TENSORS_FILE, METADATA_FILE)]
            (aside / SUMS_FILE).write_text("".join(sums), encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)  # only a damaged one can be there

    def _keep(self, names: Collection[str]) -> None:
        """Removes all others: older ones, half-written ones, and damaged later ones that training fell back from."""
        parts = [entry.name for entry in self.path.glob(".*part*")]  # up to version 0.1 they were called .NAME.part
        for name in [*parts, *(set(self.names()) - set(names))]:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def newest_whole(self) -> Checkpoint | None:
        """Reads the newest whole checkpoint and warns of each damaged one that it skips; None if there are none at all.

        A training may be writing here. It removes a checkpoint only once a newer one is there, so a checkpoint that
        vanishes while it is read is not damaged: the newer one is read.

        Raises:
            UserError: all checkpoints are damaged, or they are replaced faster than they can be read.
        """
        for _ in range(_MOST_READINGS):
            names = self.names()
            checkpoint, faults = self._first_whole(names)
            if not faults or self.names() == names:
                break
        else:
            raise UserError(
                f"the checkpoints in {self.path} are replaced faster than they can be read; wait until the training "
                "that writes them ends"
            )
        if checkpoint is None:
            if not faults:
                return None
            listed = "\n  ".join(faults)
            raise UserError(
                f"no checkpoint can be restored:\n  {listed}\n"
                f"To train from the start, remove {self.path}; to keep it, choose another --workdir."
            )
        for fault in faults:
            warnings.warn(
                f"{fault}; falling back to the checkpoint before it, {checkpoint.position.folder_name}", stacklevel=2
            )
        return checkpoint

    def _first_whole(self, names: Iterable[str]) -> tuple[Checkpoint | None, list[str]]:
        """Returns the first of these that is whole, or None, and what is wrong with those before it."""
        faults: list[str] = []
        for name in names:
            try:
                return read_checkpoint(self.path / name), faults
            except _Damaged as damage:
                faults.append(f"{self.path / name} is damaged ({damage})")
        return None, faults


class _Damaged(Exception):
    """A checkpoint is not as it was written."""


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads one checkpoint after comparing its checksums.

    Raises:
        _Damaged: it is not as it was written.
    """
    try:
        lines = (folder / SUMS_FILE).read_text(encoding="ascii").splitlines()
        wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        for name in (TENSORS_FILE, METADATA_FILE):
            if sha256_of(folder / name) != wanted[name]:
                raise _Damaged(f"the checksum of {name} differs")
        metadata = read_json(folder / METADATA_FILE)
        position = Position(metadata["epoch"], metadata["step"])
        if position.folder_name != folder.name:
            raise _Damaged(f"it is that of {position.folder_name}")
        # Arrays are stored as they are, not compressed, so they take no more memory than the file has bytes.
        tensors = read_arrays(folder / TENSORS_FILE, (folder / TENSORS_FILE).stat().st_size)
        return Checkpoint(position, tensors, metadata)
    except OSError as error:
        if error.errno in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
            raise _Damaged(f"{type(error).__name__}: {error}") from error
        # Of the disk or the machine: the checkpoint may be whole, and an older one must not take its place.
        raise UserError(
            f"{folder} can't be read: {error.strerror}. Nothing is changed; the same command resumes once that is fixed"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _Damaged(f"{type(error).__name__}: {error}") from error
