"""The one door to all data: a dataset's name and settings in, three disjoint labelled sets out.

Importing this module doesn't import TensorFlow, so that settings can be checked at once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metaaug_tf.data.examples import Dataset, Examples
from metaaug_tf.data.sources import glyphs
from metaaug_tf.data.splits import cut_dataset, vary
from metaaug_tf.errors import UserError

_RESIZED_AT_ONCE = 1024  # as float32 in between


def load_dataset(settings: Mapping[str, Any], data_dir: str | None) -> Dataset:
    """Read or draw a dataset and cut it into training, validation and test set.

    Args:
        settings: the `data` part of the resolved config, with the keys
            dataset: "glyphs", "folder" or the name of a TFDS classification dataset;
            stream: leave the images of a TFDS dataset of JPEGs in its files, see data/sources/tfds_streamed.py;
            seed: of the splits and of the drawing of glyphs;
            image_size: height and width of the result in pixels, 0 to leave them;
            channels: 1 or 3;
            split: "" or the TFDS split from which all three sets are cut;
            train_per_class, test_per_class: images, 0 for no rule;
            validation_per_class: how many of train_per_class are for validation, 0 for no rule;
            validation_examples: images held out of the training set, 0 for no rule;
            validation_fraction: part of the training set held out, 0 for no rule;
            test_fraction: part of the images held out where there is no test set and no test_per_class;
            train_examples: images of the training set to keep, 0 for all;
            skip_corrupt: leave out unreadable files of a folder and count them;
            families: of glyphs, separated by commas;
            train_on_validation, label_noise: see data/splits.py.
        data_dir: the folder of images, or where TFDS keeps its datasets (None: its own default).

    Returns:
        The three sets, uint8 images of one size. The validation set is empty where no setting asks for one.

    Raises:
        UserError: the settings or the data are not usable; says what to do.
    """
    check_settings(settings)
    data = _load(settings, data_dir)
    if len(data.class_names) < 2:
        raise UserError(
            f"--dataset={settings['dataset']} has one class, {data.class_names[0]!r}; 2 are needed to tell."
        )
    return vary(data, settings)


def _load(settings: Mapping[str, Any], data_dir: str | None) -> Dataset:
    if settings["dataset"] == "glyphs":
        return load_glyphs(settings)
    if settings["dataset"] == "folder":
        from metaaug_tf.data.sources.folder import load_folder

        return load_folder(settings, data_dir)
    if settings["stream"]:
        from metaaug_tf.data.sources.tfds_streamed import load_stream

        return load_stream(settings, data_dir)
    from metaaug_tf.data.sources.tfds import load_tfds

    return load_tfds(settings, data_dir)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the values of the `data` part of the config, without looking at any data.

    Raises:
        UserError: a value is out of its range; names the setting, its value and the range.
    """
    counts = ("seed", "image_size", "train_per_class", "validation_per_class", "test_per_class")
    for key in (*counts, "validation_examples", "train_examples"):
        if settings[key] < 0:
            raise UserError(f"--config.{key}={settings[key]}: must be 0 or more.")
    if settings["channels"] not in (1, 3):
        raise UserError(f"--config.channels={settings['channels']}: must be 1 (grey) or 3 (colour).")
    if not 0 < settings["test_fraction"] < 1:
        raise UserError(f"--config.test_fraction={settings['test_fraction']}: must be between 0 and 1.")
    if not 0 <= settings["validation_fraction"] < 1:
        raise UserError(f"--config.validation_fraction={settings['validation_fraction']}: must be 0 to below 1.")
    if settings["split"] and settings["dataset"] in ("glyphs", "folder"):
        raise UserError(
            f"--config.split={settings['split']}: the dataset {settings['dataset']!r} has no named splits; "
            "this setting is for TFDS datasets."
        )
    if settings["stream"] and settings["dataset"] in ("glyphs", "folder"):
        raise UserError(f"--config.stream=True is for TFDS datasets; {settings['dataset']!r} is read into memory.")
    rules = ("validation_per_class", "validation_examples", "validation_fraction")
    given = [f"--config.{key}={settings[key]}" for key in rules if settings[key]]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other: keep one, make the others 0.")


def load_glyphs(settings: Mapping[str, Any]) -> Dataset:
    """Draw the embedded dataset; see metaaug_tf.data.sources.glyphs.

    Args:
        settings: as for `load_dataset`; numbers per class that are 0 become those of the module.

    Returns:
        The three sets, with the family of every class.

    Raises:
        UserError: the numbers of the split can't be met.
    """
    from metaaug_tf.data.sources.images import (  # here, because importing TensorFlow takes seconds
        check_memory,
        fit_image,
    )

    settings = dict(settings)
    families = _chosen_families(settings["families"])
    settings["train_per_class"] = settings["train_per_class"] or glyphs.TRAIN_PER_CLASS
    settings["test_per_class"] = settings["test_per_class"] or glyphs.TEST_PER_CLASS
    if not (settings["validation_examples"] or settings["validation_fraction"]):
        settings["validation_per_class"] = settings["validation_per_class"] or glyphs.VALIDATION_PER_CLASS
    names = glyphs.glyph_class_names(families)
    pools = []
    for pool in glyphs.POOLS:
        if settings[f"{pool}_per_class"] > glyphs.MOST_PER_CLASS:
            raise UserError(
                f"--config.{pool}_per_class={settings[f'{pool}_per_class']}: glyphs draws at most "
                f"{glyphs.MOST_PER_CLASS} images of a class."
            )
        side = settings["image_size"] or glyphs.SIZE
        check_memory(len(names) * settings[f"{pool}_per_class"], side, side, settings["channels"])
        drawn = glyphs.draw_glyphs(settings["seed"], pool, settings[f"{pool}_per_class"], families)
        blocks = np.split(drawn.images, range(_RESIZED_AT_ONCE, len(drawn.images), _RESIZED_AT_ONCE))
        images = [fit_image(block, settings["image_size"], settings["channels"]).numpy() for block in blocks]
        pools.append(Examples(np.concatenate(images), drawn.labels))
    train, test = pools
    return cut_dataset(train, test, names, settings, glyphs.glyph_families(families))


def _chosen_families(text: str) -> list[str]:
    families = [name.strip() for name in text.split(",")]
    if not set(families) <= set(glyphs.FAMILIES) or len(set(families)) < len(families):
        raise UserError(f"--config.families={text}: some of {','.join(glyphs.FAMILIES)}, each once, between commas.")
    return families
