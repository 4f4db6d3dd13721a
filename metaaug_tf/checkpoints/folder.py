"""The files of checkpoints: written aside and renamed, with checksums; the newest whole one is found again.

A checkpoint is a folder EPOCH-STEP with
    tensors.npz      arrays, read without pickle
    checkpoint.json  where training was, and the small state of callbacks
    SHA256SUMS       of both, as `sha256sum -c` reads it
"""

import errno
import io
import json
import os
import re
import shutil
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaaug_tf.errors import UserError
from metaaug_tf.files import read_arrays, read_json, sha256_of

TENSORS_FILE, FACTS_FILE, SUMS_FILE = "tensors.npz", "checkpoint.json", "SHA256SUMS"
_NAME = re.compile(r"\d{6}-\d{9}")
# Removing older checkpoints helps against these errors and no others.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# Reading again meets the next checkpoint of a run that trains; only one that writes faster than we read uses them up.
_MOST_READINGS = 20


@dataclass(frozen=True, order=True)
class Position:
    """Where training is: `step` steps of epoch `epoch` are done (both from 0)."""

    epoch: int = 0
    step: int = 0

    @property
    def folder_name(self) -> str:
        """Name of the checkpoint there; names sort as positions do."""
        return f"{self.epoch:06d}-{self.step:09d}"


@dataclass(frozen=True)
class Saved:
    """A checkpoint's content.

    Attributes:
        position: where training was.
        tensors: arrays by name.
        facts: whatever else was stored, JSON values.
    """

    position: Position
    tensors: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """All of it, without pickle, to be sent to other workers."""
        facts = json.dumps({**self.facts, "epoch": self.position.epoch, "step": self.position.step}, default=float)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(self.tensors), **{FACTS_FILE: np.array(facts)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Saved":
        """What `to_bytes` gave."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            tensors = dict(arrays)
        facts = json.loads(str(tensors.pop(FACTS_FILE)))
        return cls(Position(facts["epoch"], facts["step"]), tensors, facts)


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
        """Names of the checkpoints, whole or not, the newest first."""
        if not self.path.is_dir():
            return []
        return sorted((entry.name for entry in self.path.iterdir() if _NAME.fullmatch(entry.name)), reverse=True)

    def write(self, saved: Saved) -> None:
        """Writes a checkpoint and removes those no longer kept.

        Where there is no room (a full disk, a quota), all older ones but the newest are removed and it is tried again.

        Raises:
            OSError: it can't be written. The newest one before it is still there; so are all others, unless there was
                no room.
        """
        try:
            self._write_aside_and_rename(saved)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._keep([name for name in self.names() if name < saved.position.folder_name][:1])
            self._write_aside_and_rename(saved)
        self._keep([name for name in self.names() if name <= saved.position.folder_name][: self.keep])

    def _write_aside_and_rename(self, saved: Saved) -> None:
        final = self.path / saved.position.folder_name
        aside = self.path / f".{final.name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            with (aside / TENSORS_FILE).open("wb") as file:
                np.savez(file, allow_pickle=False, **dict(saved.tensors))
                _to_disk(file)
            facts = {**saved.facts, "epoch": saved.position.epoch, "step": saved.position.step}
            _write_durably(aside / FACTS_FILE, json.dumps(facts, indent=1, default=float))
            sums = [f"{sha256_of(aside / name)}  {name}\n" for name in (TENSORS_FILE, FACTS_FILE)]
            _write_durably(aside / SUMS_FILE, "".join(sums))
            shutil.rmtree(final, ignore_errors=True)  # only a damaged one can be there
            os.replace(aside, final)
            _sync_folder(self.path)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def _keep(self, names: Collection[str]) -> None:
        """Removes all others: older ones, half-written ones, and later ones, damaged and gone back over."""
        parts = [entry.name for entry in self.path.glob(".*.part")]
        for name in [*parts, *(set(self.names()) - set(names))]:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def newest_whole(self) -> Saved | None:
        """Reads the newest whole checkpoint; warns of each damaged one passed over. None where there is none at all.

        A training may write here meanwhile: it removes a checkpoint only after a newer one is there, so what goes
        while it is read is no damage, and the newer one is read.

        Raises:
            UserError: there are checkpoints, all of them damaged, or they are replaced faster than they can be read.
        """
        for _ in range(_MOST_READINGS):
            names = self.names()
            saved, faults = self._first_whole(names)
            if not faults or self.names() == names:
                break
        else:
            raise UserError(
                f"the checkpoints in {self.path} are replaced faster than they can be read; wait until the training "
                "that writes them ends"
            )
        if saved is None and faults:
            listed = "\n  ".join(faults)
            raise UserError(
                f"no checkpoint can be restored:\n  {listed}\n"
                f"To train from the start, remove {self.path}; to keep it, choose another --workdir."
            )
        for fault in faults:
            warnings.warn(
                f"{fault}; falling back to the checkpoint before it, {saved.position.folder_name}", stacklevel=2
            )
        return saved

    def _first_whole(self, names: Iterable[str]) -> tuple[Saved | None, list[str]]:
        """The first of these that is whole, or None, and what is wrong with those before it."""
        faults: list[str] = []
        for name in names:
            try:
                return read_checkpoint(self.path / name), faults
            except _Damaged as damage:
                faults.append(f"{self.path / name} is damaged ({damage})")
        return None, faults


class _Damaged(Exception):
    """A checkpoint is not as it was written."""


def read_checkpoint(folder: Path) -> Saved:
    """Reads one checkpoint after comparing its checksums.

    Raises:
        _Damaged: it is not as it was written.
    """
    try:
        lines = (folder / SUMS_FILE).read_text(encoding="ascii").splitlines()
        wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        for name in (TENSORS_FILE, FACTS_FILE):
            if sha256_of(folder / name) != wanted[name]:
                raise _Damaged(f"the checksum of {name} differs")
        facts = read_json(folder / FACTS_FILE)
        position = Position(facts["epoch"], facts["step"])
        if position.folder_name != folder.name:
            raise _Damaged(f"it is that of {position.folder_name}")
        # Arrays are stored as they are, not compressed, so they take no more memory than the file has bytes.
        tensors = read_arrays(folder / TENSORS_FILE, (folder / TENSORS_FILE).stat().st_size)
        return Saved(position, tensors, facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Damaged(f"{type(error).__name__}: {error}") from error


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        _to_disk(file)


def _to_disk(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Makes a rename in the folder last through a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
