"""Draws the accuracy of a run over its epochs from the rows of its metrics.jsonl.

python docs/make_curve_figure.py docs/cifar10.jsonl docs/images/cifar10.png
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

LINES = {"accuracy": "training images, augmented", "val_accuracy": "validation images"}


def main():
    """Draws the figure."""
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    figure, axes = pyplot.subplots(figsize=(5.6, 3.2), layout="tight")
    for key, label in LINES.items():
        axes.plot([row["epoch"] + 1 for row in rows], [row[key] for row in rows], marker=".", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(sys.argv[2], dpi=110)


if __name__ == "__main__":
    main()
