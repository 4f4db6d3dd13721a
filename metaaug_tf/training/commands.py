"""What the command line does: train, evaluate, export and report a run."""

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import keras

from metaaug_tf.data.examples import Dataset
from metaaug_tf.data.pipeline import augmentation_from, evaluation_dataset, training_dataset
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.errors import UserError
from metaaug_tf.export.augment import export_augment
from metaaug_tf.export.policy import export_policy
from metaaug_tf.export.runtimes import check_format, export_runtime
from metaaug_tf.export.task import export_task
from metaaug_tf.files import write_json
from metaaug_tf.learned_augment import LearnedAugment
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.policy.folder import write_policy
from metaaug_tf.report.page import write_report
from metaaug_tf.training.build import build_model
from metaaug_tf.training.checkpoint import Checkpoints
from metaaug_tf.training.guard import HealthGuard
from metaaug_tf.training.metrics_log import MetricsLog, read_rows
from metaaug_tf.training.observe import observe_policy, write_observations
from metaaug_tf.training.run_folder import RunFolder
from metaaug_tf.training.sampler_log import SamplerLog
from metaaug_tf.training.step_ratio import measure_step_ratio


def train(config: Mapping[str, Any], workdir: Path, data_dir: str | None) -> None:
    """Trains, or goes on training, the run in `workdir`; then evaluates, exports and reports it.

    Raises:
        UserError: the workdir, the data or the settings can't be used.
    """
    started = time.monotonic()
    run = RunFolder(workdir)
    run.check_for(config)
    if run.summary.is_file():
        print(f"{run.path} is finished: {run.path / 'report.html'}")
        return
    data = load_dataset(config, data_dir)
    batches_per_epoch = len(data.train) // config["batch_size"]
    model = build_model(config, len(data.class_names), data.train.images.shape[1:], max(1, batches_per_epoch))
    dataset = training_dataset(
        data.train,
        data.validation,
        model.sampler,
        batch_size=config["batch_size"],
        validation_batch_size=config["validation_batch_size"],
        seed=config["seed"],
        augmentation=augmentation_from(config),
    )
    run.open_for(config)
    checkpoints = Checkpoints(model, run.checkpoints)
    resumed = checkpoints.restore()
    first_epoch = int(model.sampler.epoch.numpy())
    print(
        f"{'going on with' if resumed else 'starting'} {run.path}: epoch {first_epoch + 1} of {config['epochs']}, "
        f"{len(data.train)} training, {len(data.validation)} validation and {len(data.test)} test images of "
        f"{len(data.class_names)} classes, {model.task.count_params():,} parameters"
    )
    if first_epoch < config["epochs"]:
        _fit(model, dataset, data, config, run, checkpoints, first_epoch)
    summary = _finish(model, data, config, run)
    if config["measure_step_ratio"]:
        summary["step_ratio"] = measure_step_ratio(model, dataset, config, len(data.class_names))
    summary["seconds"] = time.monotonic() - started
    write_json(run.summary, summary)
    page = write_report(run.path)
    print(f"test accuracy {summary['test_accuracy']:.4f}; report: {page}; models: {run.export}")


def _fit(model, dataset, data: Dataset, config, run: RunFolder, checkpoints, first_epoch: int) -> None:
    images_per_epoch = len(data.train) // config["batch_size"] * config["batch_size"]
    model.fit(
        dataset,
        validation_data=evaluation_dataset(data.validation),
        epochs=config["epochs"],
        initial_epoch=first_epoch,
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[
            HealthGuard(),
            MetricsLog(run.metrics, images_per_epoch, first_epoch),
            SamplerLog(run.policy),
            keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
            checkpoints,
        ],
    )


def _finish(model: MetaAugment, data: Dataset, config, run: RunFolder) -> dict[str, Any]:
    """Saves what was learned and exports it; returns the summary."""
    write_json(run.classes, {"class_names": data.class_names, "families": data.families})
    write_policy(run.policy, config["fill"], model.policy_network)
    observations = observe_policy(model, data.train, augmentation_from(config), config["seed"])
    write_observations(run.policy / "observations.npz", observations)
    _export(model, data.class_names, config, run)
    return _summary(model, data, config, run)


def _summary(model: MetaAugment, data: Dataset, config, run: RunFolder) -> dict[str, Any]:
    test = model.evaluate(evaluation_dataset(data.test), verbose=0, return_dict=True)
    validation = model.evaluate(evaluation_dataset(data.validation), verbose=0, return_dict=True)
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
        "skipped_images": data.skipped,
        "command": shlex.join(["python", "-m", "metaaug_tf.main", *sys.argv[1:]]),
    }


def _export(model: MetaAugment, class_names, config, run: RunFolder) -> None:
    dataset = config["dataset"]
    export_task(model, run.export / "task", class_names, dataset)
    if model.policy_network is not None:
        export_policy(model, run.export / "policy", dataset)
        augment = LearnedAugment(model.sampler.probabilities.numpy(), config["fill"])
        export_augment(augment, run.export / "augment", model.task.input_shape[1:], dataset)


def _restored(workdir: Path, data_dir: str | None) -> tuple[MetaAugment, Dataset, RunFolder]:
    """The model of a run as its newest checkpoint left it, and its data."""
    run = RunFolder(workdir)
    config = run.read_config()
    data = load_dataset(config, data_dir)
    model = build_model(config, len(data.class_names), data.train.images.shape[1:], 1)
    if not Checkpoints(model, run.checkpoints).restore():
        raise UserError(f"{workdir} has no checkpoint yet; train it first")
    return model, data, run


def evaluate(workdir: Path, data_dir: str | None) -> None:
    """Prints accuracy and loss of a trained run on its test set."""
    model, data, _ = _restored(workdir, data_dir)
    result = model.evaluate(evaluation_dataset(data.test), verbose=0, return_dict=True)
    print(json.dumps({"test_accuracy": result["accuracy"], "test_loss": result["loss"], "images": len(data.test)}))


def export(workdir: Path, data_dir: str | None, formats: Sequence[str]) -> None:
    """Exports a trained run again, as the next version; in `formats` (onnx, litert) too.

    Raises:
        UserError: there is no trained run, or a format that is unknown or not installed.
    """
    for kind in formats:
        check_format(kind)
    model, data, run = _restored(workdir, data_dir)
    _export(model, data.class_names, run.read_config(), run)
    for kind in formats:
        export_runtime(model.task, run.export / kind, kind)
    print(f"exported to {run.export}")


def report(workdir: Path, compare: Sequence[str]) -> None:
    """Writes the report of a finished run again, beside the runs in the folders `compare`."""
    RunFolder(workdir).read_config()
    print(f"report: {write_report(workdir, [Path(folder) for folder in compare])}")
