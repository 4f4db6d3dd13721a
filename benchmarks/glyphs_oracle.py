"""What there is to win on glyphs: training with the weights of one who knows which operation ruins which label.

    python benchmarks/glyphs_oracle.py --seeds 0 1 2 --rows docs/results.json

The runs are those of `--dataset=glyphs --policy=uniform`, but an image's loss counts a fiftieth where a strong
operation (magnitude above 4, or one without magnitude) ruins its label, by the table of harm.py. No policy can know
more of that, so these rows, beside those of accuracy.py, tell what avoiding harm can bring on these data. "oracle"
trains on the validation images as well, as the baselines do; "oracle, not on validation images" has as many as
MetaAugment.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from accuracy import add_row, print_table, read_rows
from calibration import best_factor
from harm import RUINS

from metaaug_tf.config import Config, config_for
from metaaug_tf.data.evaluation_dataset import evaluation_dataset
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.sources.glyphs import glyph_families
from metaaug_tf.data.training_dataset import training_dataset
from metaaug_tf.ops.table import OPERATIONS, TABLE
from metaaug_tf.settings import Augmentation
from metaaug_tf.training.build import build_model

STRONG_MAGNITUDE = 4.0
RUINED_WEIGHT = 0.02
NAMES = {"oracle": True, "oracle, not on validation images": False}


def ruined(labels, pairs, magnitudes):
    """Whether one of the two operations ruins the label: bool [B] of labels [B], pairs [B, 2], magnitudes [B, 2]."""
    table = [[RUINS.get(name, ("",))[0] == family for name in OPERATIONS] for family in glyph_families()]
    ruins = tf.gather(tf.gather(tf.constant(table), labels), pairs, batch_dims=1)
    always = tf.gather(tf.constant([not row.uses_magnitude for row in TABLE]), pairs)
    return tf.reduce_any(ruins & (always | (tf.abs(magnitudes) > STRONG_MAGNITUDE)), axis=1)


def weighted(inputs, labels):
    """The batch with sample weights of mean 1."""
    harm = ruined(labels, inputs["pairs"], inputs["magnitudes"])
    weights = tf.where(harm, RUINED_WEIGHT, 1.0)
    return inputs, labels, weights / tf.reduce_mean(weights)


def run(name, seed):
    """Trains once; the row."""
    config = config_for("glyphs")
    config.update(seed=seed, policy="uniform", train_on_validation=NAMES[name])
    data = load_dataset(config, None)
    model = build_model(
        Config.of(config), len(data.class_names), data.train.image_shape, len(data.train) // config.batch_size
    )
    batches = training_dataset(
        data.train,
        data.validation,
        model.sampler,
        batch_size=config.batch_size,
        validation_batch_size=config.validation_batch_size,
        seed=seed,
        augmentation=Augmentation.of(config),
    )
    started, cpu_started = time.monotonic(), time.process_time()
    model.fit(batches.map(weighted), epochs=config.epochs, verbose=0)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
    test = model.evaluate(evaluation_dataset(data.test), verbose=0, return_dict=True)
    logs = tf.nn.log_softmax(model.task.predict(data.test.images, verbose=0)).numpy()
    factor, loss = best_factor(logs, data.test.labels)
    print(f"{name}, seed {seed}: {loss:.3f} with the best factor {factor:.2f}, as by calibration.py", flush=True)
    return {
        "suite": "glyphs",
        "name": name,
        "seed": seed,
        "epochs": config.epochs,
        "test_accuracy": test["accuracy"],
        "test_loss": test["loss"],
        "training_seconds": seconds,
        "training_cpu_seconds": cpu_seconds,
        "command": f"python benchmarks/glyphs_oracle.py --seeds {seed}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=Path, default=Path("docs/results.json"))
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for name in NAMES:
            row = run(name, seed)
            add_row(arguments.rows, row)
            print(json.dumps(row), flush=True)
    print_table(read_rows(arguments.rows))


if __name__ == "__main__":
    main()
