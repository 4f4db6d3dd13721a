"""Datasets of TensorFlow Datasets (TFDS): found by name, prepared or downloaded, looked over before they are read."""

import difflib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import tensorflow_datasets as tfds
from absl import logging

from metaaug_tf.data.sources.records import check_records
from metaaug_tf.errors import UserError
from metaaug_tf.files import read_json
from metaaug_tf.names import printable

# Which splits are the training and the test set where this isn't plainly "train" and "test" (or else
# "validation"); with None the test set is cut from the first.
DEFAULT_SPLITS = {"omniglot": ("train+test", None), "imagenet2012": ("train", "validation")}
_NAME = re.compile(r"[a-zA-Z][\w-]*(/[\w.+-]+)?(:[\d*.]+)?", re.ASCII)
DOWNLOAD_HOSTS = ("https://storage.googleapis.com", "https://github.com")


def prepared_builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The builder of a dataset whose data are there; they are downloaded only if they are not.

    Args:
        name: of the dataset, with config and version if wanted ("NAME/CONFIG:VERSION").
        data_dir: where TFDS keeps prepared datasets, None for its own default.

    Raises:
        UserError: unknown name, config or version (nearest names listed); the data can't be had.
    """
    builder = find_builder(name, data_dir)
    if not builder.is_prepared():
        _download(builder)
    return builder


def find_builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The builder of a dataset, prepared or not; arguments as for `prepared_builder`.

    Raises:
        UserError: unknown name, config or version (nearest names listed).
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--dataset={name} is not the name of a dataset: NAME, NAME/CONFIG or NAME/CONFIG:VERSION. Datasets of "
            "communities (COMMUNITY:NAME) are not read: they come with code."
        )
    _check_features_are_of_tfds(re.split("[/:]", name)[0], data_dir)
    try:
        with quiet_tfds(), _temporary_files_removed():
            return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError, ImportError) as error:
        known = ["glyphs", "folder", *tfds.list_builders(with_community_datasets=False)]
        if re.split("[/:]", name)[0] in known:  # then it is the config or the version that is wrong
            raise UserError(f"--dataset={name}: {str(error).splitlines()[0]}") from error
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known[:2]
        raise UserError(f"--dataset={name} is not known; nearest: {', '.join(near)}.") from error


def _check_features_are_of_tfds(name: str, data_dir: str | None) -> None:
    """Rejects a folder whose features.json names a class of another package, which TFDS would import.

    Raises:
        UserError: names the file and the class.
    """
    for path in Path(data_dir or tfds.core.constants.DATA_DIR).expanduser().glob(f"{name}/**/features.json"):
        try:
            classes = _class_names_in(read_json(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{printable(path)} can't be read: {error}; prepare the dataset again") from error
        if foreign := [found for found in classes if not str(found).startswith("tensorflow_datasets.")]:
            raise UserError(
                f"{printable(path)} must name classes of tensorflow_datasets only, got {foreign[0]!a}, which "
                "reading the dataset would import and run; remove the folder unless you trust it"
            )


def _class_names_in(value: Any) -> Iterator[Any]:
    """All values under "pythonClassName" in nested JSON."""
    if isinstance(value, dict):
        for key, inside in value.items():
            if key in ("pythonClassName", "python_class_name"):
                yield inside
            else:
                yield from _class_names_in(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _class_names_in(inside)


def check_files(builder: tfds.core.DatasetBuilder, splits: Sequence[str]) -> None:
    """Looks over the files of some splits before TensorFlow reads them.

    Raises:
        UserError: one is damaged so that TensorFlow's reader would crash.
    """
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        check_records(
            sorted({Path(part.filename) for split in splits for part in builder.info.splits[split].file_instructions})
        )


def choose_splits(builder: tfds.core.DatasetBuilder, spec: str, validation_spec: str = "") -> tuple[str, ...]:
    """The split specs to read: the training set's and the test set's, or one from which both are cut.

    The validation set's is last, if one is given.

    Args:
        builder: of a prepared dataset.
        spec: the user's choice of the one split, or "".
        validation_spec: the split of the validation set, or "".

    Raises:
        UserError: a split isn't there or is empty; lists those that are.
    """
    there = list(builder.info.splits)
    chosen = (spec,) if spec else _default_splits(builder.name, there)
    if validation_spec:
        if validation_spec in chosen:
            raise UserError(
                f"--config.validation_split must not be a split that is trained or tested on, got {validation_spec!r}; "
                f"{builder.name} has {', '.join(there)}, and parts such as --config.split='{there[0]}[1000:]' with "
                f"--config.validation_split='{there[0]}[:1000]'"
            )
        chosen = (*chosen, validation_spec)
    for split in chosen:
        try:
            count = builder.info.splits[split].num_examples
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{builder.name} in {builder.data_path} has no split {split!r}, only {', '.join(there)}. "
                f"Choose one with --config.split={there[0]} or a part with --config.split='{there[0]}[:10%]'."
            ) from error
        if not count:
            raise UserError(f"{builder.name}: the split {split!r} is empty; there are {', '.join(there)}.")
    return chosen


@contextmanager
def quiet_tfds() -> Iterator[None]:
    """Keep TFDS from logging warnings about its own code."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def _temporary_files_removed() -> Iterator[None]:
    """Removes what is left in the folder of temporary files: the builder of a dataset that isn't there makes one."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="metaaug_tf-") as scratch:
        tempfile.tempdir = scratch
        try:
            yield
        finally:
            tempfile.tempdir = before


def _default_splits(name: str, there: list[str]) -> tuple[str, ...]:
    """The training split, and the test split unless it is to be cut from the former."""
    if name in DEFAULT_SPLITS:
        train, test = DEFAULT_SPLITS[name]
    else:
        train, test = "train", next((split for split in ("test", "validation") if split in there), None)
    return (train,) if test is None else (train, test)


def _download(builder: tfds.core.DatasetBuilder) -> None:
    """Download and prepare a dataset, or say where it was looked for and how to get it."""
    by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    try:
        if not by_hand:
            _check_network()
        builder.download_and_prepare()
    except Exception as error:  # downloading and preparing runs any dataset's own code
        raise UserError(
            f"{builder.name} is not prepared in {builder.data_path} and could not be downloaded: {error}\n"
            "If it is elsewhere on this machine, give its parent folder with --data_dir=DIR; else, where "
            f"there is a network, run `tfds build {builder.name} --data_dir=DIR` and copy DIR."
        ) from error


def _check_network() -> None:
    """Fail within seconds where there is no network: TFDS itself tries again for minutes."""
    for host in DOWNLOAD_HOSTS:
        try:
            requests.head(host, timeout=5)
            return
        except requests.RequestException:
            continue
    raise ConnectionError(f"no network ({' and '.join(DOWNLOAD_HOSTS)} can't be reached)")
