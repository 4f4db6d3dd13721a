"""The one door to all data: a dataset's name and settings in, three disjoint labelled sets out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from metaaug_tf.config import values_out_of_range
from metaaug_tf.data.examples import Examples, Splits
from metaaug_tf.data.imperfect import vary
from metaaug_tf.data.sources import glyphs
from metaaug_tf.data.sources.images import check_memory, fit_image
from metaaug_tf.data.splits import cut_dataset
from metaaug_tf.errors import UserError
from metaaug_tf.names import check_class_names
from metaaug_tf.settings import DataSettings

_RESIZED_AT_ONCE = 1024  # as float32 in between


def load_dataset(settings: DataSettings | Mapping[str, Any], data_dir: str | None) -> Splits:
    """Reads or draws a dataset and cuts it into training, validation and test set.

    Args:
        settings: a DataSettings, or a mapping that holds some of its fields; the others have their defaults.
        data_dir: the folder of images, or where TFDS keeps its datasets (None: its own default).

    Returns:
        The three sets, uint8 images of one size. The validation set is empty where no setting asks for one.

    Raises:
        UserError: the settings or the data are not usable; says what to do.
    """
    if not isinstance(settings, DataSettings):
        settings = DataSettings.of(settings)
    check_settings(settings)
    data = _load(settings, data_dir)
    check_class_names(data.class_names)
    if len(data.class_names) < 2:
        raise UserError(
            f"--dataset={settings.dataset} has a single class, {data.class_names[0]!r}; a classifier needs two or more"
        )
    return vary(data, settings)


def _load(settings: DataSettings, data_dir: str | None) -> Splits:
    if settings.dataset == "glyphs":
        return load_glyphs(settings)
    if settings.dataset == "folder":
        from metaaug_tf.data.sources.folder import load_folder

        return load_folder(settings, data_dir)
    if settings.stream:
        from metaaug_tf.data.sources.tfds_streamed import load_stream

        return load_stream(settings, data_dir)
    from metaaug_tf.data.sources.tfds import load_tfds

    return load_tfds(settings, data_dir)


def check_settings(settings: DataSettings) -> None:
    """Checks the settings of the data, each by itself and together, without looking at any data.

    Raises:
        UserError: names the setting, its value and what is allowed.
    """
    if faults := values_out_of_range(vars(settings)):
        raise UserError("\n".join(faults))
    if settings.dataset in ("glyphs", "folder"):
        if settings.split:
            raise UserError(
                f"--config.split must be empty for {settings.dataset!r}, got {settings.split}; only TFDS datasets have "
                "named splits"
            )
        if settings.validation_split:
            raise UserError(
                f"--config.validation_split must be empty for {settings.dataset!r}, got {settings.validation_split}; "
                "it is for TFDS datasets; a folder takes validation/CLASS/* or --config.validation_dir"
            )
        if settings.stream:
            raise UserError(
                f"--config.stream must be False for {settings.dataset!r}, got True; only TFDS datasets can be streamed"
            )
    if settings.validation_dir and settings.dataset != "folder":
        raise UserError(
            f"--config.validation_dir must be empty for {settings.dataset!r}, got {settings.validation_dir}; it is for "
            "--dataset=folder"
        )
    rules = ("validation_per_class", "validation_examples", "validation_fraction")
    given = [f"--config.{key}={getattr(settings, key)}" for key in rules if getattr(settings, key)]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other; keep one, make the others 0")


def load_glyphs(settings: DataSettings) -> Splits:
    """Draws the embedded dataset; see metaaug_tf.data.sources.glyphs.

    Args:
        settings: of the data; numbers per class that are 0 become those of the module.

    Returns:
        The three sets, with the family of every class.

    Raises:
        UserError: the numbers of the split can't be met.
    """
    families = _chosen_families(settings.families)
    validation = settings.validation_per_class
    if not (settings.validation_examples or settings.validation_fraction):
        validation = validation or glyphs.VALIDATION_PER_CLASS
    settings = replace(
        settings,
        train_per_class=settings.train_per_class or glyphs.TRAIN_PER_CLASS,
        test_per_class=settings.test_per_class or glyphs.TEST_PER_CLASS,
        validation_per_class=validation,
    )
    names = glyphs.glyph_class_names(families)
    train = _drawn_pool("train", settings.train_per_class, settings, families)
    test = _drawn_pool("test", settings.test_per_class, settings, families)
    return cut_dataset(train, test, names, settings, glyphs.glyph_families(families))


def _drawn_pool(pool: str, per_class: int, settings: DataSettings, families: Sequence[str]) -> Examples:
    """The drawings of one pool, brought to the wanted size and channels."""
    if per_class > glyphs.MOST_PER_CLASS:
        raise UserError(
            f"--config.{pool}_per_class must be at most {glyphs.MOST_PER_CLASS} for glyphs, got {per_class}"
        )
    side = settings.image_size or glyphs.SIZE
    check_memory(len(glyphs.glyph_class_names(families)) * per_class, side, side, settings.channels)
    drawn = glyphs.draw_glyphs(settings.seed, pool, per_class, families)
    blocks = np.split(drawn.images, range(_RESIZED_AT_ONCE, len(drawn.images), _RESIZED_AT_ONCE))
    images = [fit_image(block, settings.image_size, settings.channels).numpy() for block in blocks]
    return Examples(np.concatenate(images), drawn.labels)


def _chosen_families(text: str) -> list[str]:
    families = [name.strip() for name in text.split(",")]
    if not set(families) <= set(glyphs.FAMILIES) or len(set(families)) < len(families):
        raise UserError(
            f"--config.families must be some of {','.join(glyphs.FAMILIES)}, each once, with commas, got {text}"
        )
    return families
