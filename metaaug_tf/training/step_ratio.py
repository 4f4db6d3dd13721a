"""Times a run's training step against the plain step of the same network in the same process."""

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import keras
import tensorflow as tf

from metaaug_tf.data.examples import Dataset
from metaaug_tf.data.pipeline import augmentation_from, training_dataset
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.training.build import build_model

_ROUNDS, _STEPS_PER_ROUND = 5, 8


def measure_step_ratio(model: MetaAugment, data: Dataset, config: Mapping[str, Any]) -> float:
    """Seconds of a step of this run's kind over those of a plain step: median of rounds in turn.

    Args:
        model: the trained model; a copy takes the steps, it stays as it is.
        data: the run's.
        config: the run's.
    """
    shape, classes = data.train.images.shape[1:], len(data.class_names)
    dtype = keras.config.dtype_policy()
    models = [
        build_model({**config, "policy": name}, classes, shape, 1) for name in (config["policy"], "uniform")
    ]
    keras.config.set_dtype_policy(dtype)
    batch = next(
        iter(
            training_dataset(
                data.train,
                data.validation,
                model.sampler,
                batch_size=config["batch_size"],
                validation_batch_size=config["validation_batch_size"],
                augmentation=augmentation_from(config),
            )
        )
    )
    steps = [tf.function(copy.train_step, jit_compile=config["jit_compile"]) for copy in models]
    for step in steps:
        step(batch)
    ratios = []
    for _ in range(_ROUNDS):
        own, plain = (_seconds(step, batch) for step in steps)
        ratios.append(own / plain)
    return median(ratios)


def _seconds(step, batch) -> float:
    started = time.perf_counter()
    for _ in range(_STEPS_PER_ROUND):
        logs = step(batch)
    float(logs["loss"])  # waits for the last step
    return time.perf_counter() - started
