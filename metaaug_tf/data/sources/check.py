"""What `--check_data` says: which data are there, what is missing and the next step, and a contact sheet."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from metaaug_tf.data.examples import Examples, Splits
from metaaug_tf.data.sources.contact_sheet import draw_contact_sheet
from metaaug_tf.data.sources.load import check_settings, load_dataset
from metaaug_tf.data.sources.tfds_builder import find_builder
from metaaug_tf.errors import UserError
from metaaug_tf.settings import DataSettings

_READ_FOR_THE_SHEET = 1000


def check_data(settings: DataSettings, data_dir: str | None, sheet: Path) -> str:
    """Reads the dataset as training would, but downloads nothing, and draws a contact sheet.

    Args:
        settings: the resolved config.
        data_dir: the folder of images, or where TFDS keeps its datasets (None: its own default).
        sheet: the PNG file to write.

    Returns:
        What was found, as lines to print.

    Raises:
        UserError: something is missing or can't be used; says the next step.
    """
    check_settings(settings)
    lines = [f"dataset {settings.dataset}"]
    if settings.dataset not in ("glyphs", "folder"):
        builder = find_builder(settings.dataset, data_dir)
        if not builder.is_prepared():
            raise UserError(what_is_missing(builder))
        splits = (f"{name} {info.num_examples:,}" for name, info in builder.info.splits.items())
        lines += [f"prepared in {builder.data_path}", f"its splits: {', '.join(splits)}"]
    data = load_dataset(settings, data_dir)
    lines += _found(data)
    draw_contact_sheet(data.train.head(_READ_FOR_THE_SHEET), data.class_names, sheet)
    return "\n".join([*lines, f"contact sheet: {sheet}", "nothing is missing: leave out --check_data to train"])


def what_is_missing(builder: tfds.core.DatasetBuilder) -> str:
    """Where an unprepared dataset was looked for, what is wanted, and the command that prepares it."""
    folder = builder.data_path.parent.parent
    command = f"tfds build {builder.name} --data_dir={folder}"
    lines = [f"{builder.name} is missing: there is no prepared dataset in {builder.data_path}."]
    versions = builder.data_path.parent
    if versions.exists() and (others := sorted(path.name for path in versions.iterdir())):
        lines.append(f"There is {', '.join(others)} beside it, which this version of TFDS does not read.")
    lines.append("If it is elsewhere on this machine, give its parent folder with --data_dir=DIR.")
    if by_hand := builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        manual = folder / "downloads" / "manual"
        there = sorted(path.name for path in manual.iterdir()) if manual.exists() else []
        lines += [
            f"It has to be downloaded by hand into {manual} ({', '.join(there) or 'nothing there yet'}):",
            " ".join(by_hand.split()),
            f"Next step: put the files there, then run {command}",
        ]
    else:
        lines.append(f"Next step: where there is a network, run {command}")
    return "\n".join(lines)


def _found(data: Splits) -> list[str]:
    sets = ("training", data.train), ("validation", data.validation), ("test", data.test)
    height, width, channels = data.train.image_shape
    lines = [f"{name}: {len(part):,} images" for name, part in sets]
    lines.append(f"images as the network gets them: {height} x {width}, {channels} channel(s)")
    lines.append(
        f"{len(data.class_names)} classes: {', '.join(data.class_names[:10])}{', ...' * (len(data.class_names) > 10)}"
    )
    if isinstance(data.train, Examples):
        sizes = np.bincount(data.train.labels, minlength=len(data.class_names))
        least, most = int(sizes.argmin()), int(sizes.argmax())
        lines.append(
            f"training images of a class: {sizes[least]:,} ({data.class_names[least]}) to {sizes[most]:,} "
            f"({data.class_names[most]})"
        )
    if data.skipped:
        lines.append(f"unreadable files left out: {data.skipped:,}")
    return lines
