"""Small trainings that can be killed after any step, and what has to be the same afterwards."""

import functools

import helpers
import keras
import numpy as np

import metaaug_tf as ma
from metaaug_tf.callbacks.health_guard import HealthGuard
from metaaug_tf.callbacks.run_logs import MetricsLog
from metaaug_tf.checkpoints.model_state import capture_variables, restore_variables
from metaaug_tf.run_folder import read_rows

TRAIN, VALIDATION = helpers.random_examples(16, 0), helpers.random_examples(10, 1)


STEPS, EPOCHS = 4, 3


TIMES = ("seconds", "cpu_seconds", "images_per_second", "input_bound_fraction")


class Killed(Exception):
    """Stands for the end of a process: nothing after it runs."""


class KilledAfter(ma.Checkpoints):
    """Ends training after a number of steps in all, once the checkpoint of that step is written."""

    left = 0

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self.left -= 1
        if self.left == 0:
            raise Killed


def make_model(**settings):
    task = helpers.tiny_task(batch_norm=True, dropout=0.3)
    model = ma.MetaAugment(task)
    compiled = {"optimizer": keras.optimizers.SGD(0.01, momentum=0.9), "policy_optimizer": "adam", **settings}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"], **{"jit_compile": False, **compiled})
    return model


@functools.cache
def traced_model():
    """A model, its state when new, and its datasets by first step; tracing takes most of the time of so few steps."""
    model = make_model()
    return model, capture_variables(model), {}


def new_model(settings):
    """What a new process has: a new model, or the traced one with all its state as when new; and its datasets."""
    if settings:
        return make_model(**settings), {}
    model, state, datasets = traced_model()
    restore_variables(model, state, with_metrics=False)
    model.reset_metrics()
    model.stop_training = False
    return model, datasets


def make_dataset(model, policy, first_step):
    augmentation = ma.Augmentation(policy, padding=1)
    sizes = {"batch_size": 4, "validation_batch_size": 4, "classes": 4, "first_step": first_step}
    return ma.training_dataset(TRAIN, VALIDATION, model.sampler, augmentation=augmentation, **sizes)


def train(folder, kill_after=0, callbacks=(), minutes=0.0, policy="none", stop=None, **settings):
    """A new process's share of the run in `folder`; returns its model."""
    model, datasets = new_model(settings)
    checkpoints = KilledAfter(model, folder / "checkpoints", minutes=minutes, stop=stop)
    checkpoints.left = kill_after
    checkpoints.restore()

    def dataset(first_step):
        if first_step not in datasets:
            datasets[first_step] = make_dataset(model, policy, first_step)
        return datasets[first_step]

    watching = [HealthGuard(), MetricsLog(folder / "metrics.jsonl", 16), *callbacks]
    validation = ma.evaluation_dataset(VALIDATION)
    ma.fit_resumably(model, dataset, checkpoints, epochs=EPOCHS, callbacks=watching, validation_data=validation)
    return model


def results(folder, model):
    """All variables and the rows without what depends on the time."""
    rows = [{key: row[key] for key in row if key not in TIMES} for row in read_rows(folder / "metrics.jsonl")]
    return {name: array for name, array in capture_variables(model).items() if not name.startswith("metrics/")}, rows


def assert_same(wanted, found):
    assert wanted[0].keys() == found[0].keys()
    for name in wanted[0]:
        np.testing.assert_array_equal(wanted[0][name], found[0][name], err_msg=name)
    assert wanted[1] == found[1] and [row["epoch"] for row in found[1]] == list(range(EPOCHS))
