"""What a trained run leaves behind: its figures, what was learned, and models to serve."""

import shlex
import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import tensorflow as tf

from metaaug_tf.augmentation.augment import augmentation_from
from metaaug_tf.callbacks.averaging import use_averages
from metaaug_tf.data.evaluation_dataset import evaluation_dataset
from metaaug_tf.data.examples import Dataset
from metaaug_tf.export.augment import export_augment
from metaaug_tf.export.policy import export_policy
from metaaug_tf.export.task import export_task
from metaaug_tf.files import write_json
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.policy.folder import write_policy
from metaaug_tf.policy.learned_augment import LearnedAugment
from metaaug_tf.run_folder import RunFolder, read_rows
from metaaug_tf.training.build import build_model
from metaaug_tf.training.observe import observe_policy, write_observations
from metaaug_tf.workers.workers import Workers


def evaluate_and_sum_up(
    model: MetaAugment, data: Dataset, config: Mapping[str, Any], run: RunFolder, workers: Workers
) -> dict[str, Any]:
    """The run's summary; all workers evaluate together, each on its part of the images."""
    use_averages(model)
    test, validation = (
        model.evaluate(evaluation_dataset(part, replicas=workers.replicas), verbose=0, return_dict=True)
        for part in (data.test, data.validation)
    )
    rows = read_rows(run.metrics)
    steady = rows[1:] or rows  # the first epoch compiles
    images_per_second = median(row["images_per_second"] for row in steady)
    return {
        "dataset": config["dataset"],
        "policy": config["policy"],
        "seed": config["seed"],
        "epochs": len(rows),
        "test_accuracy": test["accuracy"],
        "test_loss": test["loss"],
        "validation_accuracy": validation["accuracy"],
        "images_per_second": images_per_second,
        "step_seconds": config["batch_size"] / images_per_second,
        "input_bound_fraction": median(row["input_bound_fraction"] for row in steady),
        "step_ratio": None,
        "training_seconds": sum(row["seconds"] for row in rows),
        "training_cpu_seconds": sum(row["cpu_seconds"] for row in rows),
        "parameters": model.task.count_params(),
        "devices": workers.replicas,
        "workers": workers.count,
        "skipped_images": data.skipped,
        "command": shlex.join(["python", "-m", "metaaug_tf.main", *sys.argv[1:]]),
    }


def save_what_was_learned(model: MetaAugment, data: Dataset, config: Mapping[str, Any], run: RunFolder) -> None:
    """Writes the classes, the policy with observations for the report, and the exports."""
    write_json(run.classes, {"class_names": data.class_names, "families": data.families})
    write_policy(run.policy, config["fill"], model.policy_network)
    observations = observe_policy(model, data.train, augmentation_from(config), config["seed"])
    write_observations(run.policy_files.observations, observations)
    export_models(model, data.class_names, config, run)


def export_models(model: MetaAugment, class_names, config: Mapping[str, Any], run: RunFolder) -> None:
    """Exports classifier, policy and augmentation, each as the next version of its folder."""
    dataset = config["dataset"]
    export_task(model, run.task_export, class_names, dataset)
    if model.policy_network is not None:
        export_policy(model, run.policy_export, dataset)
        augment = LearnedAugment(model.sampler.probabilities.numpy(), config["fill"])
        export_augment(augment, run.augment_export, model.task.input_shape[1:], dataset)


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
