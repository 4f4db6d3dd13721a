"""Draws docs/images/weights.png: what one exported policy trained on glyphs thinks of which operation on which image.

    python docs/make_weights_figure.py runs/demo [--output docs/images/weights.png]

One fresh drawing of each family under some operations, and the weight that images of its family get then: mean of the
log weight over fresh drawings, magnitudes +8 and -8, relative to the same drawings left as they are.
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
from metaaug_tf.data.glyphs import draw_glyphs
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


def row_of(policy, family):
    """[(title, augmented image, weight relative to the untouched drawings)] of one family."""
    fresh = draw_glyphs(0, "test", TEST_PER_CLASS + FRESH_PER_CLASS, [family]).images
    images = fresh.reshape(-1, TEST_PER_CLASS + FRESH_PER_CLASS, *fresh.shape[1:])[:, TEST_PER_CLASS:]
    images = images.reshape(-1, *fresh.shape[1:])
    shown = DRAWN_CLASS[family] * FRESH_PER_CLASS
    _, level = log_weights(policy, images, "Identity", 0.0)
    cells = [("untouched", images[shown], 1.0)]
    for operation in SHOWN:
        (made, up), (_, down) = (log_weights(policy, images, operation, sign * MAGNITUDE) for sign in (1, -1))
        cells.append((operation, made[shown], np.exp(np.mean([up, down]) - np.mean(level))))
    return cells


def main():
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run on glyphs")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images" / "weights.png")
    arguments = parser.parse_args()
    policy = tf.saved_model.load(str(arguments.run / "export" / "policy" / "1")).signatures["serving_default"]
    figure, grid = pyplot.subplots(len(FAMILIES), len(SHOWN) + 1, figsize=(10.4, 4.5), layout="constrained")
    for line, (family, text) in enumerate(FAMILIES.items()):
        for axes, (title, image, weight) in zip(grid[line], row_of(policy, family), strict=True):
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
