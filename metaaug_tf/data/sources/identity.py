"""Which data a dataset's name and folder stand for, found without decoding an image, and how two of them differ."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from metaaug_tf.names import printable
from metaaug_tf.settings import DataSettings

_SHOWN = 5


@dataclass(frozen=True)
class DataIdentity:
    """What has to be the same for two runs to see the same images with the same settings.

    Attributes:
        source: "glyphs", "folder", or name and version of a TFDS dataset.
        folder: where it is, an absolute path; "" where it is nowhere. Data may be moved, so it is not compared.
        files: size in bytes of each file by its path in the folder.
    """

    source: str
    folder: str = ""
    files: Mapping[str, int] = field(default_factory=dict)

    def difference(self, other: "DataIdentity") -> str:
        """What `other` has instead, a line for each kind of difference; "" where it is the same data."""
        if self.source != other.source:
            return f"  dataset: {self.source} -> {other.source}"
        kinds = {
            "missing": sorted(set(self.files) - set(other.files)),
            "added": sorted(set(other.files) - set(self.files)),
            "changed": sorted(
                name for name in self.files if other.files.get(name, self.files[name]) != self.files[name]
            ),
        }
        return "\n".join(f"  {kind}: {_shown(names)}" for kind, names in kinds.items() if names)


def _shown(names: list[str]) -> str:
    """The number of files and the names of the first ones."""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names):,} file(s): {', '.join(map(printable, names[:_SHOWN]))}{more}"


def identify(settings: DataSettings, data_dir: str | None) -> DataIdentity:
    """The identity of the data that `load_dataset` would read.

    Args:
        settings: of the data.
        data_dir: the folder of images, or where TFDS keeps its datasets (None: its own default).

    Raises:
        UserError: there are no such data.
    """
    if settings.dataset == "glyphs":
        return DataIdentity("glyphs")
    if settings.dataset == "folder":
        from metaaug_tf.data.sources.folder import existing_folder, find_images

        root = existing_folder(data_dir)
        sets = find_images(root, settings.validation_dir)
        paths = [path for part in sets.values() for members in part.values() for path in members]
        return DataIdentity("folder", str(root.resolve()), _sizes(root, paths))
    from metaaug_tf.data.sources.tfds_builder import choose_splits, prepared_builder

    builder = prepared_builder(settings.dataset, data_dir)
    root = Path(builder.data_path)
    splits = choose_splits(builder, settings.split, settings.validation_split)
    files = {part.filename for split in splits for part in builder.info.splits[split].file_instructions}
    return DataIdentity(builder.info.full_name, str(root.resolve()), _sizes(root, map(Path, sorted(files))))


def _sizes(root: Path, paths: Iterable[Path]) -> dict[str, int]:
    return {os.path.relpath(path, root): _size(path) for path in paths}


def _size(path: Path) -> int:
    """Bytes of a file; -1 where it is none that can be looked at, which reading it will report."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
