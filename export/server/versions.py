"""Keeps the newest version of an export loaded: a new one takes over once it is warm, a broken one never does."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from metaaug_tf.errors import UserError
from metaaug_tf.export.server.served_model import ServedModel, find_version

_POLL_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Versions:
    """The loaded version of an export.

    Attributes:
        current: the model that answers; requests that have it keep it until they are answered.
        failed: number of newer versions that could not be loaded.
    """

    def __init__(self, folder: Path, load: Callable[[Path], ServedModel]):
        """Loads the newest version.

        Args:
            folder: of an export, or of one version, which stays the only one.
            load: version's folder -> model that is warm.

        Raises:
            UserError: there is none, or it can't be loaded.
        """
        self._folder, self._load, self.failed = folder, load, 0
        self.current = load(find_version(folder))
        self._broken: list | None = None  # a version's folder and its files, as they were
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="new versions")

    def follow(self) -> None:
        """Looks for another newest version every two seconds, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more."""
        self._stop.set()

    def look(self) -> None:
        """Loads the newest version if it is not the current one, and was not found broken as it is."""
        try:
            path = find_version(self._folder)
            tried = [
                path,
                *sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in path.rglob("*")),
            ]
        except (UserError, OSError):
            return  # being moved or removed: the loaded one stays
        if path == self.current.path or tried == self._broken:
            return
        try:
            self.current = self._load(path)
        except Exception as error:
            self._broken = tried
            self.failed += 1
            _log.error("%s stays, since the newer version can't be used: %s", self.current.path, error)

    def _work(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            try:
                self.look()
            except Exception:
                _log.exception("looking for new versions failed; it is tried again")
