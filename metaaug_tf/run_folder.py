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
from metaaug_tf.files import ASIDE_PREFIX, read_json, read_json_lines, write_json

LOCK_FILE = ".lock"


class PolicyFolder:
    """The files of a learned policy: policy/ of a run, or a copy of it anywhere.

    Attributes:
        path: the folder itself; the other attributes are paths in it.
    """

    def __init__(self, path: str | Path):
        """Names the files; nothing is created or read."""
        self.path = Path(path)
        self.sampler = self.path / "sampler.json"
        self.settings = self.path / "policy.json"
        self.weights = self.path / "network.weights.h5"
        self.observations = self.path / "observations.npz"


class RunFolder:
    """The files of one run. To add one, add a row here.

    Attributes:
        path: the folder itself; the other attributes are paths in it, and the names of the files of its policy.
    """

    def __init__(self, path: str | Path):
        """Names the files; nothing is created or read."""
        self.path = Path(path)
        self.lock = self.path / LOCK_FILE
        self.config = self.path / "config.json"
        self.data = self.path / "data.json"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        self.classes = self.path / "classes.json"
        self.report = self.path / "report.html"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.policy = self.path / "policy"
        self.policy_files = PolicyFolder(self.policy)
        self.export = self.path / "export"
        self.task_export = self.export / "task"
        self.policy_export = self.export / "policy"
        self.augment_export = self.export / "augment"
        self._place: tuple[int, int] | None = None  # of the folder that was opened

    def runtime_export(self, kind: str) -> Path:
        """Returns the folder of the classifier as exported to the runtime `kind`: onnx or litert."""
        return self.export / kind

    def check_for(self, config: Mapping[str, Any]) -> None:
        """Rejects a folder that is not free for this config; creates nothing.

        Raises:
            UserError: it holds another config or files that are not a run's, or is not writable.
        """
        try:
            present = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
            present = [name for name in present if name != LOCK_FILE and not name.startswith(ASIDE_PREFIX)]
        except OSError as error:
            raise UserError(
                f"the workdir {self.path} can't be read: {error.strerror}; choose another --workdir"
            ) from error
        if self.config.name in present:
            self._compare(config)
        elif present:
            raise UserError(
                f"the workdir {self.path} is not empty and holds no run ({', '.join(sorted(present)[:3])}); "
                "choose another --workdir"
            )
        ancestor = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        if not ancestor.is_dir() or not os.access(ancestor, os.W_OK, effective_ids=True):
            raise UserError(
                f"the workdir {self.path} is not writable (no write permission in {ancestor}); choose another --workdir"
            )

    @contextmanager
    def opened_for(self, config: Mapping[str, Any]) -> Iterator[None]:
        """Writes the config where there is none and keeps other processes out of the folder while it is entered.

        Raises:
            UserError: the folder is not writable, is in use, or is not free for this config.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            with locked(self.path):
                self.check_for(config)
                if not self.config.exists():
                    write_json(self.config, config)
                self._place = _place_of(self.path)
                yield

    def check_still_there(self) -> None:
        """Stops a run whose folder was moved or removed: what it writes would make a new one, without its config.

        Raises:
            UserError: another folder, or none, is there now than when it was opened.
        """
        if self._place is not None and _place_of(self.path) != self._place:
            raise UserError(
                f"the workdir {self.path} was moved or removed while it was in use; put it back, and the same command "
                "resumes from its newest checkpoint"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns an error of writing a file into a message that says what to do.

        Raises:
            UserError: a file could not be written.
        """
        try:
            with file_errors_as_os_errors():
                yield
        except OSError as error:
            raise UserError(
                f"{error}\nWhat was saved in {self.path} before is kept. Make room or fix the folder; then the same "
                "command resumes the run."
            ) from error

    def _compare(self, config: Mapping[str, Any]) -> None:
        difference = describe_difference(self.read_config(), config)
        if difference:
            raise UserError(
                f"the workdir {self.path} holds a run with another config:\n{difference}\n"
                "Choose another --workdir, give the settings it was started with, or continue from it in a new folder "
                "with --fork=NEWDIR."
            )

    def read_config(self) -> dict[str, Any]:
        """Returns the run's config, also with settings that did not exist when it began.

        Raises:
            UserError: there is no run here, or its config can't be read.
        """
        return with_settings_of_before(self.config_as_begun())

    def config_as_begun(self) -> dict[str, Any]:
        """Returns what the run's config file holds.

        Raises:
            UserError: as `read_config`.
        """
        if not self.config.is_file():
            raise UserError(f"{self.path} is not a run folder: it has no {self.config.name}")
        try:
            config = read_json(self.config)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.config} can't be read: {error}") from error
        if not isinstance(config, dict):
            raise UserError(f"{self.config} can't be read: it is not a JSON object")
        return config


def _place_of(path: Path) -> tuple[int, int] | None:
    """Device and inode of a folder, which stay its own when it is moved; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def folder_of(path: Path, is_chief: bool) -> Iterator[RunFolder]:
    """Yields the run's folder to the chief, and to any other worker a scratch folder that is removed in the end.

    So all workers can run the same code, and no two of them write to one file.
    """
    if is_chief:
        yield RunFolder(path)
    else:
        with tempfile.TemporaryDirectory(prefix="metaaug_tf-") as scratch:
            yield RunFolder(Path(scratch))


def read_rows(metrics: Path) -> list[dict[str, Any]]:
    """Reads a metrics file (RunFolder.metrics): a row per epoch in their order, none where there is no such file.

    A last line that was cut off is left out; of two rows of one epoch the later one counts.

    Raises:
        UserError: it can't be read or a line is damaged; the message names file and line.
    """
    if not metrics.is_file():
        return []
    rows: dict[int, dict[str, Any]] = {}
    try:
        for number, row in read_json_lines(metrics):
            if not isinstance(row, dict) or type(row.get("epoch")) is not int or row["epoch"] < 0:
                raise ValueError(f"line {number} must be a JSON object with the number of an epoch")
            rows[row["epoch"]] = row
    except (OSError, ValueError) as error:
        raise UserError(f"{metrics} can't be read: {error}") from error
    return [rows[epoch] for epoch in sorted(rows)]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system frees it when the process ends in whatever way.

    Raises:
        UserError: another process holds it, or its file can't be written.
    """
    try:
        # A link would be followed to somebody's file, which is then emptied.
        descriptor = os.open(RunFolder(folder).lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{RunFolder(folder).lock} must be a file, got a link; remove it") from error
        raise UserError(f"the workdir {folder} is not writable: {error.strerror}; choose another --workdir") from error
    try:
        _take(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def check_free(folder: Path) -> None:
    """Rejects a folder that another process holds; leaves it as it is.

    Raises:
        UserError: it is held.
    """
    lock = RunFolder(folder).lock
    if lock.is_file():
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK)
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
            f"the workdir {folder} is in use by another process (ID {owner} on its machine); wait for it, stop it, "
            "or choose another --workdir"
        ) from error


_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


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
        number = next((number for number in _ERRNOS if os.strerror(number) in error.message), None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), error.message.split(";")[0].split("}} ")[-1]) from error
