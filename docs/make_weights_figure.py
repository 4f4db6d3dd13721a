"""Draws docs/images/weights.png: what policies trained on glyphs think of which operation on which image.

    python docs/make_weights_figure.py runs/harm/seed* [--output docs/images/weights.png]

One fresh drawing of each family under some operations, and the weight that images of its family get then: mean of the
log weight over runs and fresh drawings, magnitudes +8 and -8, relative to the same drawings left as they are.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib

matplotlib.use("Agg")

import numpy as np
import tensorflow as tf
from matplotlib import colormaps, pyplot
from matplotlib.colors import LogNorm

import metaaug_tf as ma
from metaaug_tf.data.sources.glyphs import draw_glyphs
from metaaug_tf.ops.table import OPERATIONS

FAMILIES = {"hue": "its colour\nis the label", "angle": "its angle\nis the label", "shape": "its shape\nis the label"}
SHOWN = ("Solarize", "AutoContrast", "Color", "Rotate", "ShearX", "ShearY", "TranslateX", "Sharpness")
MAGNITUDE, FRESH_PER_CLASS, TEST_PER_CLASS = 8.0, 40, 34
DRAWN_CLASS = {"hue": 8, "angle": 1, "shape": 2}  # which drawing stands for its family; the first of that class
COLOURS = LogNorm(1 / 30, 30)


def log_weights(policy, images, operation, magnitude):
    """Of all images under one operation: the augmented images, and the log weights [N]."""
    pairs = np.tile(np.int32([OPERATIONS.index(operation), OPERATIONS.index("Identity")]), (len(images), 1))
    magnitudes = np.full(pairs.shape, magnitude, np.float32)
    made = ma.apply_pairs(images, pairs, magnitudes)
    weights = policy(images=made, pairs=tf.constant(pairs), magnitudes=tf.constant(magnitudes))["weights"]
    return made.numpy(), np.log(weights.numpy())


def row_of(policies, family):
    """[(title, augmented image, weight relative to the untouched drawings)] of one family."""
    fresh = draw_glyphs(0, "test", TEST_PER_CLASS + FRESH_PER_CLASS, [family]).images
    images = fresh.reshape(-1, TEST_PER_CLASS + FRESH_PER_CLASS, *fresh.shape[1:])[:, TEST_PER_CLASS:]
    images = images.reshape(-1, *fresh.shape[1:])
    shown = DRAWN_CLASS[family] * FRESH_PER_CLASS

    def mean(operation, magnitude):
        return np.mean([log_weights(policy, images, operation, magnitude)[1] for policy in policies])

    cells = [("untouched", images[shown], 1.0)]
    for operation in SHOWN:
        made, _ = log_weights(policies[0], images, operation, MAGNITUDE)
        change = (mean(operation, MAGNITUDE) + mean(operation, -MAGNITUDE)) / 2 - mean("Identity", 0.0)
        cells.append((operation, made[shown], np.exp(change)))
    return cells


def main():
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs on glyphs")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images" / "weights.png")
    arguments = parser.parse_args()
    exports = [tf.saved_model.load(str(run / "export" / "policy" / "1")) for run in arguments.runs]
    policies = [export.signatures["serving_default"] for export in exports]
    figure, grid = pyplot.subplots(len(FAMILIES), len(SHOWN) + 1, figsize=(10.4, 4.5), layout="constrained")
    for line, (family, text) in enumerate(FAMILIES.items()):
        for axes, (title, image, weight) in zip(grid[line], row_of(policies, family), strict=True):
            axes.imshow(image)
            axes.set(xticks=[], yticks=[])
            colour = colormaps["RdBu"](COLOURS(weight))
            axes.spines[:].set(color=colour, linewidth=5)
            axes.set_xlabel(f"x {weight:.2g}", fontsize=11)
            if line == 0:
                axes.set_title(title, fontsize=10)
        grid[line, 0].set_ylabel(text, fontsize=10)
    figure.savefig(arguments.output, dpi=100)


if __name__ == "__main__":
    main()
