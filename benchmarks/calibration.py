"""How much of a run's test loss is confidence, how much is mistakes: the loss at the temperature that suits it best.

    python benchmarks/calibration.py runs/accuracy/glyphs-*

Augmentation that ruins labels makes a classifier hesitant; that costs loss, but no accuracy, and one factor on all
logits (Guo et al., arXiv 1706.04599, temperature scaling) would mend it. The factor is chosen on the test images
themselves, so the last column is a bound, the same for every run. Reads the exported classifiers of finished runs.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from metaaug_tf.data.sources import load_dataset

FACTORS = 2.0 ** np.arange(-2, 2.01, 0.05)


def loss(log_probabilities, labels, factor):
    """Mean cross-entropy of labels [N] where all log-probabilities [N, C] are multiplied, then normalised."""
    scaled = factor * log_probabilities
    return float(np.mean(np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(labels)), labels]))


def best_factor(log_probabilities, labels):
    """The factor with the lowest loss, and that loss."""
    losses = [loss(log_probabilities, labels, factor) for factor in FACTORS]
    return FACTORS[int(np.argmin(losses))], min(losses)


def measure(folder, data_dir):
    config = json.loads((folder / "config.json").read_text())
    data = load_dataset(config, data_dir)
    test = data.test
    serve = tf.saved_model.load(str(folder / "export" / "task" / "1")).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    logs = np.log(np.maximum(serve(**{name: tf.constant(test.images)})["probabilities"].numpy(), 1e-12))
    right = logs.argmax(1) == test.labels
    families = np.array(data.families or ["all"] * len(data.class_names))[test.labels]
    by_family = ", ".join(f"{name} {right[families == name].mean():.3f}" for name in dict.fromkeys(families))
    return right.mean(), by_family, loss(logs, test.labels, 1.0), *best_factor(logs, test.labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="of finished runs")
    parser.add_argument("--data_dir", help="where TFDS keeps its datasets")
    arguments = parser.parse_args()
    columns = ("run", "test accuracy", "by family", "test loss", "best factor", "loss with it")
    print(f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|")
    for folder in arguments.folders:
        accuracy, by_family, plain, factor, scaled = measure(folder, arguments.data_dir)
        figures = f"{accuracy:.4f} | {by_family} | {plain:.3f} | {factor:.2f} | {scaled:.3f}"
        print(f"| {folder.name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
