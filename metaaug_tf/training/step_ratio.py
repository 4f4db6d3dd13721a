"""Times a run's training step against the plain step of the same network in the same process."""

import time
from dataclasses import replace
from statistics import median

from metaaug_tf.training.build import build_model
from metaaug_tf.training.job import Job

_ROUNDS, _STEPS_PER_ROUND = 5, 6


def measure_step_ratio(job: Job) -> float:
    """Seconds of this run's step over those of a plain step: median of rounds in turn, input excluded.

    The model takes real steps, so it has changed afterwards: measure last.

    Args:
        job: trained; one batch of its data is used again and again.
    """
    strategy = job.model.distribute_strategy
    plain_config = replace(job.config, augmentation=replace(job.config.augmentation, policy="uniform"))
    with strategy.scope():
        plain = build_model(plain_config, len(job.data.class_names), job.model.task.input_shape[1:], 1)
    dataset = job.training_dataset(distributed=False)
    batches = iter(strategy.experimental_distribute_dataset(dataset.take(1).cache().repeat()))
    steps = [copy.make_train_function() for copy in (job.model, plain)]
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
