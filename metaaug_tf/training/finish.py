"""What a trained run leaves behind: its figures, what was learned, and models to serve."""

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from metaaug_tf.callbacks.averaging import use_averages
from metaaug_tf.data.evaluation_dataset import evaluation_dataset
from metaaug_tf.export.augment import export_augment
from metaaug_tf.export.policy import export_policy
from metaaug_tf.export.task import export_task
from metaaug_tf.files import write_json
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.policy.folder import write_policy
from metaaug_tf.policy.learned_augment import LearnedAugment
from metaaug_tf.report.page import write_report
from metaaug_tf.run_folder import RunFolder, read_rows
from metaaug_tf.training.job import Job
from metaaug_tf.training.observe import observe_policy, write_observations
from metaaug_tf.training.step_ratio import measure_step_ratio


def evaluate_and_sum_up(job: Job, command: str) -> dict[str, Any]:
    """The run's summary; all workers evaluate together, each on its part of the images."""
    use_averages(job.model)
    test, validation = (
        job.model.evaluate(evaluation_dataset(part, replicas=job.workers.replicas), verbose=0, return_dict=True)
        for part in (job.data.test, job.data.validation)
    )
    rows = read_rows(job.folder.metrics)
    steady = rows[1:] or rows  # the first epoch compiles
    images_per_second = median(row["images_per_second"] for row in steady)
    return {
        "dataset": job.config.data.dataset,
        "policy": job.config.augmentation.policy,
        "seed": job.config.run.seed,
        "epochs": len(rows),
        "test_accuracy": test["accuracy"],
        "test_loss": test["loss"],
        "validation_accuracy": validation["accuracy"],
        "images_per_second": images_per_second,
        "step_seconds": job.config.run.batch_size / images_per_second,
        "input_bound_fraction": median(row["input_bound_fraction"] for row in steady),
        "step_ratio": None,
        "training_seconds": sum(row["seconds"] for row in rows),
        "training_cpu_seconds": sum(row["cpu_seconds"] for row in rows),
        "parameters": job.model.task.count_params(),
        "devices": job.workers.replicas,
        "workers": job.workers.count,
        "skipped_images": job.data.skipped,
        "command": command,
    }


def save_what_was_learned(job: Job) -> None:
    """The chief writes the classes, the policy with observations for the report, and the exports."""
    with job.workers.rejecting_together(), job.folder.writing():
        job.folder.check_still_there()
        if not job.workers.is_chief:
            return
        fill, data = job.config.augmentation.fill, job.data
        write_json(job.folder.classes, {"class_names": data.class_names, "families": data.families})
        write_policy(job.folder.policy, fill, job.model.policy_network)
        observations = observe_policy(job.model, data.train, job.config.augmentation, job.config.run.seed)
        write_observations(job.folder.policy_files.observations, observations)
        export_models(job.model, data.class_names, job.config.data.dataset, fill, job.folder)


def export_models(model: MetaAugment, class_names: Sequence[str], dataset: str, fill: int, run: RunFolder) -> None:
    """Exports classifier, policy and augmentation, each as the next version of its folder."""
    export_task(model, run.task_export, class_names, dataset)
    if model.policy_network is not None:
        export_policy(model, run.policy_export, dataset)
        augment = LearnedAugment(model.sampler.probabilities.numpy(), fill)
        export_augment(augment, run.augment_export, model.task.input_shape[1:], dataset)


def write_results(job: Job, summary: dict[str, Any], started: float) -> None:
    """Measures the step's time where asked for; the chief writes summary and report, and says where they are.

    Args:
        job: trained, evaluated and exported.
        summary: from `evaluate_and_sum_up`.
        started: when the command began, by time.monotonic().
    """
    if job.config.run.measure_step_ratio:
        summary["step_ratio"] = measure_step_ratio(job)
    summary["seconds"] = time.monotonic() - started
    with job.workers.rejecting_together(), job.folder.writing():
        if job.workers.is_chief:
            write_json(job.folder.summary, summary)
            page = write_report(job.folder.path)
            print(f"test accuracy {summary['test_accuracy']:.4f}; report: {page}; models: {job.folder.export}")
