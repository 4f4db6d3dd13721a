"""Settings of data sources for tests, folders of images, and where real data are."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SETTINGS = {
    "dataset": "glyphs",
    "stream": False,
    "seed": 0,
    "image_size": 0,
    "channels": 3,
    "split": "",
    "train_per_class": 0,
    "validation_per_class": 0,
    "test_per_class": 0,
    "validation_examples": 0,
    "validation_fraction": 0.0,
    "test_fraction": 0.2,
    "train_examples": 0,
    "skip_corrupt": False,
    "families": "shape,hue,angle",
    "train_on_validation": False,
    "label_noise": 0.0,
    "label_noise_kind": "uniform",
    "long_tail": 1.0,
    "rare_classes": 0,
}


FOLDER = SETTINGS | {"dataset": "folder"}


PREPARED = Path(os.environ.get("METAAUG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data" / "tfds")).resolve()


needs_omniglot = pytest.mark.skipif(not (PREPARED / "omniglot").is_dir(), reason="no real Omniglot (METAAUG_TEST_DATA)")


needs_cifar10 = pytest.mark.skipif(
    not (PREPARED / "cifar10").is_dir(), reason="no CIFAR-10 at hand (METAAUG_TEST_DATA)"
)


def write_images(folder, classes, count, size=8, ending="png", seed=0):
    """Write random images CLASS/NUMBER.ending; returns path -> pixels."""
    random = np.random.default_rng(seed)
    written = {}
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            pixels = random.integers(0, 256, (size, size, 3), np.uint8)
            path = folder / name / f"{k}.{ending}"
            Image.fromarray(pixels).save(path, format="JPEG" if ending.lower().startswith("j") else "PNG")
            written[path] = pixels
    return written
