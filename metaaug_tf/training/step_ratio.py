"""Times a run's training step against the plain step of the same network in the same process."""

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import tensorflow as tf

from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.training.build import build_model

_ROUNDS, _STEPS_PER_ROUND = 5, 6


def measure_step_ratio(model: MetaAugment, dataset: tf.data.Dataset, config: Mapping[str, Any], classes: int) -> float:
    """Seconds of this model's step over those of a plain step: median of rounds in turn, input excluded.

    The model takes real steps, so it has changed afterwards: measure last.

    Args:
        model: the run's.
        dataset: what it was trained on, not distributed; one batch is used again and again.
        config: the run's.
        classes: number of classes.
    """
    strategy = model.distribute_strategy
    with strategy.scope():
        plain = build_model({**config, "policy": "uniform"}, classes, model.task.input_shape[1:], 1)
    batches = iter(strategy.experimental_distribute_dataset(dataset.take(1).cache().repeat()))
    steps = [copy.make_train_function() for copy in (model, plain)]
    for step in steps:
        step(batches)  # compiles
    ratios = []
    for _ in range(_ROUNDS):
        own, other = (_seconds(step, batches) for step in steps)
        ratios.append(own / other)
    return median(ratios)


def _seconds(step, batches) -> float:
    started = time.perf_counter()
    for _ in range(_STEPS_PER_ROUND):
        logs = step(batches)
    float(logs["loss"])  # waits for the last step
    return time.perf_counter() - started
