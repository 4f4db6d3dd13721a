"""A run is a folder: where its files are, and who may write there."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metaaug_tf.config import describe_difference, with_settings_of_before
from metaaug_tf.errors import UserError
from metaaug_tf.files import ASIDE_PREFIX, read_json, write_json


class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder itself; the other attributes are paths in it.
    """

    def __init__(self, path: Path):
        """Names the files; nothing is created or read."""
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        self.classes = self.path / "classes.json"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.policy = self.path / "policy"
        self.export = self.path / "export"

    def check_for(self, config: Mapping[str, Any]) -> None:
        """Refuses a folder that is not free for this config; creates nothing.

        Raises:
            UserError: it holds another config or files that are not a run's, or can't be written.
        """
        try:
            present = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
            present = [name for name in present if name != LOCK_FILE and not name.startswith(ASIDE_PREFIX)]
        except OSError as error:
            raise self._unusable(error) from error
        if self.config.name in present:
            self._compare(config)
        elif present:
            raise UserError(
                f"the workdir {self.path} is not empty and holds no run ({', '.join(sorted(present)[:3])}); "
                "choose another --workdir"
            )
        ancestor = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        if not ancestor.is_dir() or not os.access(ancestor, os.W_OK, effective_ids=True):
            raise UserError(f"the workdir {self.path} can't be written: no writing in {ancestor}; choose another")

    @contextmanager
    def opened_for(self, config: Mapping[str, Any]) -> Iterator[None]:
        """Makes the folder this config's and keeps other processes out while it is entered.

        Raises:
            UserError: it can't be written, or is in use.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            with locked(self.path):
                self.check_for(config)
                if not self.config.exists():
                    write_json(self.config, config)
                yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Says of files that can't be written what to do.

        Raises:
            UserError: one can't.
        """
        try:
            with file_errors_as_os_errors():
                yield
        except OSError as error:
            raise UserError(
                f"{error}\nWhat was saved in {self.path} before is kept. Make room or mend the folder; then the same "
                "command goes on."
            ) from error

    def _unusable(self, error: OSError) -> UserError:
        return UserError(f"the workdir {self.path} can't be written: {error.strerror}; choose another --workdir")

    def _compare(self, config: Mapping[str, Any]) -> None:
        difference = describe_difference(self.read_config(), config)
        if difference:
            raise UserError(
                f"the workdir {self.path} holds a run with another config:\n{difference}\n"
                "Choose another --workdir, give the settings it was started with, or go on from there in a new folder "
                "with --fork=NEWDIR."
            )

    def read_config(self) -> dict[str, Any]:
        """The run's config.

        Raises:
            UserError: there is no run here, or its config can't be read.
        """
        if not self.config.is_file():
            raise UserError(f"{self.path} is not a run folder: it has no {self.config.name}")
        try:
            config = read_json(self.config)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.config} can't be read: {error}") from error
        if not isinstance(config, dict):
            raise UserError(f"{self.config} can't be read: it is not a JSON object")
        return with_settings_of_before(config)


@contextmanager
def folder_of(path: Path, is_chief: bool) -> Iterator[RunFolder]:
    """The run's folder; of a worker that is not the chief a scratch folder, which goes away in the end.

    All workers can do the same so, and no two of them write to one file.
    """
    if is_chief:
        yield RunFolder(path)
    else:
        with tempfile.TemporaryDirectory(prefix="metaaug_tf-") as scratch:
            yield RunFolder(Path(scratch))


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


_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


@contextmanager
def file_errors_as_os_errors() -> Iterator[None]:
    """Raises OSError where TensorFlow could not write a file; its other errors pass.

    A full disk and a lack of memory are both ResourceExhaustedError there; only the system's own text tells them apart.

    Raises:
        OSError: with the system's number and text.
    """
    from tensorflow import errors  # here, so that a report of a run needs no TensorFlow

    try:
        yield
    except errors.OpError as error:
        number = next((number for number in _NUMBERS if os.strerror(number) in error.message), None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), error.message.split(";")[0].split("}} ")[-1]) from error
