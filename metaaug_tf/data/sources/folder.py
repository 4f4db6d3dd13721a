"""Images in a folder: train/CLASS/*.png, test/CLASS/*.png and validation/CLASS/*.png, or only CLASS/*.png.

PNG and JPEG. The images of validation/ are the trusted ones: labels checked by hand.
"""

import errno
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from metaaug_tf.data.examples import Examples, Splits
from metaaug_tf.data.sources.images import check_memory, fit_image
from metaaug_tf.data.splits import cut_dataset, per_class_counts
from metaaug_tf.errors import UserError
from metaaug_tf.names import check_class_names, printable
from metaaug_tf.settings import DataSettings

ENDINGS = (".png", ".jpg", ".jpeg")  # in any case; other files are ignored, hidden ones too
# What is wrong with a file itself; other errors are of the disk or the machine.
_OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ELOOP, errno.EISDIR)
# The sets that a folder may hold, and what they are for.
_PURPOSES = {"train": "training", "test": "testing", "validation": "validation"}
_DECODED_AT_ONCE = 8  # which bounds the memory, however many cores there are
LAYOUT = (
    "it should hold train/CLASS/*.png and test/CLASS/*.png, perhaps validation/CLASS/*.png with labels checked by "
    "hand, or only CLASS/*.png (PNG or JPEG)"
)


def load_folder(settings: DataSettings, data_dir: str | None) -> Splits:
    """Read a folder of images and cut it into the three sets.

    Args:
        settings: the `data` part of the config, see `metaaug_tf.data.sources.load.load_dataset`.
        data_dir: the folder. Where it has no test/ or validation/, that set is cut from the other images;
            settings.validation_dir names another folder for the latter.

    Returns:
        The three sets; class names are the names of the class folders, sorted.

    Raises:
        UserError: the folder is missing or its layout isn't the expected one; an image can't be decoded (and
            skip_corrupt is off); images differ in size and image_size is 0; too few images for the split.
    """
    root = existing_folder(data_dir)
    files = find_images(root, settings.validation_dir)
    names = list(files["train"])
    found = {part: read_images(members, settings) for part, members in files.items()}
    sets = {part: examples for part, (examples, _) in found.items()}
    for part, examples in sets.items():
        per_class_counts(examples.labels, 1, names, _PURPOSES[part])
        if examples.images.shape[1:] != sets["train"].images.shape[1:]:
            raise UserError(
                f"the images in train and {part} of {root} differ in size, {sets['train'].images.shape[1:3]} and "
                f"{examples.images.shape[1:3]}: set --config.image_size."
            )
    skipped = sum(count for _, count in found.values())
    test, validation = sets.get("test"), sets.get("validation")
    return cut_dataset(sets["train"], test, names, settings, skipped=skipped, validation=validation)


def find_images(root: Path, validation_dir: str = "") -> dict[str, dict[str, list[Path]]]:
    """Find the image files of a folder by set and class.

    Args:
        root: the folder.
        validation_dir: a folder CLASS/*.png for the validation set; "" = root/validation, where that is a folder
            beside root/train.

    Returns:
        {"train", and "test" and "validation" where they are: {class name: sorted paths}}, all with the same classes in
        the same sorted order.

    Raises:
        UserError: a folder can't be read; fewer than two classes; a class without images; classes that are
            in one set only.
    """
    folders = {"train": root}
    if (root / "train").is_dir() and _subfolders(root / "train"):
        folders = {part: root / part for part in _PURPOSES if (root / part).is_dir()}
    if validation_dir:
        folders["validation"] = existing_validation_folder(validation_dir)
    files = {part: _class_files(folder) for part, folder in folders.items()}
    for part, classes in files.items():
        if single := sorted(set(files["train"]) ^ set(classes)):
            where = [f"{name!r} only in {'train' if name in files['train'] else part}" for name in single]
            raise UserError(
                f"{folders[part]}: train and {part} must have the same classes; found {_listed(where)}"
                + ("; each class needs at least one trusted image" if part == "validation" else "")
            )
    return files


def existing_validation_folder(validation_dir: str) -> Path:
    """The folder named by the setting, checked to be one."""
    folder = Path(validation_dir).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "doesn't exist"
        raise UserError(f"--config.validation_dir={validation_dir} {what}; it should hold CLASS/*.png (PNG or JPEG)")
    return folder


def read_images(files: Mapping[str, Sequence[Path]], settings: DataSettings) -> tuple[Examples, int]:
    """Decode all files of one set.

    Args:
        files: class name -> paths; the position of the name is the label.
        settings: used are image_size, channels and skip_corrupt.

    Returns:
        The examples, in the order of the files, and how many files were skipped.

    Raises:
        UserError: a file can't be decoded (and skip_corrupt is off); images differ in size.
    """
    size, channels = settings.image_size, settings.channels
    paths = [path for members in files.values() for path in members]
    labels = np.repeat(np.arange(len(files), dtype=np.int32), [len(members) for members in files.values()])
    decode = partial(_decode, size=size, channels=channels, skip=settings.skip_corrupt)
    first = next((image for image in map(decode, paths) if image is not None), None)
    if first is None:
        raise UserError(f"none of the {len(paths)} images around {printable(paths[0])} can be decoded")
    check_memory(len(paths), *first.shape)
    with ThreadPoolExecutor(_DECODED_AT_ONCE) as threads:
        images = list(threads.map(decode, paths))
    readable = {k: image for k, image in enumerate(images) if image is not None}
    for k, image in readable.items():
        if image.shape != first.shape:
            raise UserError(
                f"images must have one size, got {first.shape[:2]} pixels in {printable(paths[min(readable)])} and "
                f"{image.shape[:2]} in {printable(paths[k])}; set --config.image_size"
            )
    return Examples(np.stack(list(readable.values())), labels[list(readable)]), len(paths) - len(readable)


def _decode(path: Path, size: int, channels: int, skip: bool) -> np.ndarray | None:
    """One image uint8 [H, W, channels], its alpha channel dropped; None if unreadable and to be skipped.

    Raises:
        UserError: the file is no readable image and is not to be skipped; or the machine, not the file, is at fault.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "not a regular file")  # reading a pipe or a device might never end
        image = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise UserError(
            f"there is not enough memory to read {printable(path)}; nothing is wrong with the file"
        ) from error
    except (tf.errors.OpError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _OF_THE_FILE:
            raise UserError(
                f"{printable(path)} can't be read: {error.strerror}. The file may be fine: check the disk, then run "
                "the same command again"
            ) from error
        if skip:
            return None
        reason = str(getattr(error, "message", None) or getattr(error, "strerror", None) or error)
        reason = reason.splitlines()[0].split("}} ")[-1].split(" [Op:")[0]
        raise UserError(
            f"{printable(path)} must be a readable PNG or JPEG image ({reason}); fix or remove it, or leave such files "
            "out with --config.skip_corrupt=True"
        ) from error
    return fit_image(image, size, channels).numpy()


def existing_folder(data_dir: str | None) -> Path:
    """The folder named by the flag, checked to be one."""
    if data_dir is None:
        raise UserError(f"--dataset=folder needs --data_dir=DIR, the folder of the images: {LAYOUT}.")
    root = Path(data_dir).expanduser()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "doesn't exist"
        raise UserError(f"--data_dir={data_dir} {what}; {LAYOUT}.")
    return root


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """Class name -> sorted image files, from the subfolders of `folder` in sorted order."""
    files = {}
    check_class_names(sub.name for sub in _subfolders(folder))
    for sub in _subfolders(folder):
        files[sub.name] = [file for file in _visible(sub) if file.suffix.lower() in ENDINGS]
    if empty := [repr(name) for name, members in files.items() if not members]:
        raise UserError(f"{folder}: no {', '.join(ENDINGS)} files in the class folder(s) {_listed(empty)}; {LAYOUT}.")
    if len(files) < 2:
        raise UserError(f"{folder}: {len(files)} class folder(s) found, at least 2 needed; {LAYOUT}.")
    return files


def _subfolders(folder: Path) -> list[Path]:
    """The visible folders in `folder`, sorted by name."""
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _visible(folder: Path) -> list[Path]:
    """What isn't hidden in `folder`, sorted by name."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} can't be read: {error.strerror}.") from error


def _listed(names: Sequence[str]) -> str:
    """Names for a message, at most five of them."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
