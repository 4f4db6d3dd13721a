"""Files that are whole or as they were before, and reading them without trust in what they hold."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
