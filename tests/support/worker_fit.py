"""A small float64 training that two workers do together, or a process by itself; a checkpoint after every step.

Run as a worker, TF_CONFIG in the environment: python tests/support/worker_fit.py FOLDER
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import helpers
import keras

import metaaug_tf as ma
from metaaug_tf.workers.start import start
from metaaug_tf.workers.workers import Workers

STEPS = 3
TRAIN, VALIDATION = helpers.random_examples(4 * STEPS, 0), helpers.random_examples(6, 1)


def make_model(workers):
    with workers.scope():
        task = helpers.tiny_task(dtype="float64")
        keras.utils.set_random_seed(3)
        model = ma.MetaAugment(task, ma.PolicyNetwork(hidden_units=7, dtype="float64"))
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            keras.optimizers.Adam(0.01),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,
        )
    return model


def train(folder, workers):
    """One epoch; the checkpoints are in `folder`."""
    model = make_model(workers)
    checkpoints = ma.Checkpoints(model, folder, keep=100, minutes=0, workers=workers)
    checkpoints.restore()

    def dataset(first_step):
        sizes = {"batch_size": 4, "validation_batch_size": 4, "first_step": first_step}
        plain = ma.Augmentation("uniform", padding=1)
        strategy = model.distribute_strategy
        return ma.training_dataset(TRAIN, VALIDATION, model.sampler, augmentation=plain, strategy=strategy, **sizes)

    ma.fit_resumably(model, dataset, checkpoints, epochs=1)


if __name__ == "__main__":
    joined: Workers = start("multi_worker", 0, {})
    train(Path(sys.argv[-1]) / ("chief" if joined.is_chief else "other"), joined)
