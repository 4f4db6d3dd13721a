"""What a run's folder keeps of its data, so that it never resumes or is judged with other data without a word."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metaaug_tf.config import Config
from metaaug_tf.data.examples import Splits
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.sources.identity import DataIdentity, identify
from metaaug_tf.errors import UserError
from metaaug_tf.files import read_json, write_json
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.training.job import Job


def keep_or_compare(job: Job, data_dir: str | None) -> None:
    """Writes data.json where the run has none yet; else rejects other data than those in it.

    Raises:
        UserError: the data differ; says in what and how to continue.
    """
    record, identity = read_record(job.folder), identify(job.config.data, data_dir)
    if record is None:
        write_json(job.folder.data, _record_of(job.data, identity, data_dir))
    else:
        _compare(job.folder, record, identity)
        check_class_names(job.folder, own_class_names(job.folder), job.data.class_names)


def check_finished(folder: RunFolder, config: Config, data_dir: str | None) -> None:
    """Rejects a finished run for other data than its own.

    Raises:
        UserError: the data differ; says in what and how to continue.
    """
    record = read_record(folder)
    if record is not None and data_dir is not None:
        _compare(folder, record, identify(config.data, data_dir))


def own_class_names(folder: RunFolder) -> list[str] | None:
    """The names of the classes that a run was trained on; None where its folder does not tell.

    Raises:
        UserError: a file that holds them can't be read.
    """
    if (record := read_record(folder)) is not None:
        return list(record["class_names"])
    if not folder.classes.is_file():
        return None
    try:
        return [str(name) for name in read_json(folder.classes)["class_names"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder.classes} can't be read as names of classes: {error!r}") from error


def load_data_of(folder: RunFolder, config: Config, data_dir: str | None) -> Splits:
    """The data in `data_dir`, by default those that the run was trained on.

    Raises:
        UserError: the data can't be read, or have other classes than the run's.
    """
    record = read_record(folder)
    data = load_dataset(config.data, data_dir or (record["data_dir"] if record else None))
    check_class_names(folder, own_class_names(folder), data.class_names)
    return data


def check_class_names(folder: RunFolder, own: list[str] | None, found: Sequence[str]) -> None:
    """Rejects data whose classes are not those of the run, by name and in order; passes where these are unknown.

    Raises:
        UserError: names the classes of both.
    """
    if own is not None and list(found) != own:
        raise UserError(
            f"the data must have the classes that the run in {folder.path} was trained on, {_listed(own)}, got "
            f"{_listed(list(found))}; give the run's own --data_dir, or images of these classes under these names"
        )


def read_record(folder: RunFolder) -> dict[str, Any] | None:
    """What data.json holds; None for a run of an earlier version, which has none.

    Raises:
        UserError: it can't be read.
    """
    if not folder.data.is_file():
        return None
    try:
        record = read_json(folder.data)
        identity = record["identity"]
        DataIdentity(str(identity["source"]), str(identity["folder"]), dict(identity["files"]))
        [str(name) for name in record["class_names"]], [int(size) for size in record["image_shape"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder.data} can't be read as a run's data: {error!r}; remove it to continue without"
        ) from error
    return record


def _record_of(data: Splits, identity: DataIdentity, data_dir: str | None) -> dict[str, Any]:
    sets = {"training": data.train, "validation": data.validation, "test": data.test}
    return {
        "identity": asdict(identity),
        "data_dir": None if data_dir is None else str(Path(data_dir).expanduser().absolute()),
        "class_names": data.class_names,
        "image_shape": data.train.image_shape,
        "images": {name: len(part) for name, part in sets.items()},
    }


def _compare(folder: RunFolder, record: dict[str, Any], identity: DataIdentity) -> None:
    own = DataIdentity(**record["identity"])
    if difference := own.difference(identity):
        where = f" in {Path(identity.folder)}" if identity.folder else ""
        raise UserError(
            f"the data{where} are not those that the run in {folder.path} was started with:\n{difference}\n"
            "Give the --data_dir of then, choose another --workdir, or continue from it in a new folder with "
            "--fork=NEWDIR."
        )


def _listed(names: list[str]) -> str:
    """Class names for a message, the first ones of many."""
    return json.dumps(names[:10], ensure_ascii=False) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
