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
import tensorflow as tf

from metaaug_tf.config import check_config, config_digest
from metaaug_tf.data.examples import Dataset
from metaaug_tf.data.pipeline import augmentation_from, evaluation_dataset, training_dataset
from metaaug_tf.data.service import lost_service_told
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
from metaaug_tf.training.averaging import averaging_callbacks, use_averages
from metaaug_tf.training.build import build_model
from metaaug_tf.training.checkpoint import Checkpoints
from metaaug_tf.training.checkpoint_folder import CheckpointFolder
from metaaug_tf.training.file_errors import file_errors_as_os_errors
from metaaug_tf.training.fork import read_fork
from metaaug_tf.training.guard import HealthGuard
from metaaug_tf.training.lock import check_free
from metaaug_tf.training.metrics_log import MetricsLog, read_rows
from metaaug_tf.training.observe import observe_policy, write_observations
from metaaug_tf.training.resume import fit_resumably
from metaaug_tf.training.run_folder import RunFolder
from metaaug_tf.training.sampler_log import SamplerLog
from metaaug_tf.training.step_ratio import measure_step_ratio
from metaaug_tf.training.stopping import StopRequest


def train(config: Mapping[str, Any], workdir: Path, data_dir: str | None, fork: Path | None = None) -> None:
    """Trains, or goes on training, the run in `workdir`; then evaluates, exports and reports it.

    Args:
        config: checked.
        workdir: the run's folder.
        data_dir: where the data are.
        fork: goes on in this new folder instead, from the newest checkpoint of `workdir`; settings may differ.

    Raises:
        UserError: the workdir, the data or the settings can't be used, or files can't be written.
        Stopped: a signal came; everything is saved.
    """
    started = time.monotonic()
    run = RunFolder(fork or workdir)
    run.check_for(config)
    check_free(run.path)
    if run.summary.is_file():
        page = run.path / "report.html"
        print(f"{run.path} is finished: {page if page.is_file() else write_report(run.path)}")
        return
    data = load_dataset(config, data_dir)
    batches_per_epoch = len(data.train) // config["batch_size"]
    model = build_model(config, len(data.class_names), data.train.image_shape, max(1, batches_per_epoch))
    dataset = _training_dataset(model, data, config, 0)  # refuses data that don't do before a folder is made
    first = None
    if fork and not CheckpointFolder(run.checkpoints).names():
        first = read_fork(model, RunFolder(workdir), config_digest(config))
    with StopRequest() as stop, run.opened_for(config), file_errors_as_os_errors(), lost_service_told():
        if first is not None:
            CheckpointFolder(run.checkpoints).write(first)
        _fit(model, dataset, data, config, run, stop)
        stop.check()
        summary = _finish(model, data, config, run)
        stop.check()
        if config["measure_step_ratio"]:
            summary["step_ratio"] = measure_step_ratio(model, dataset, config, len(data.class_names))
        summary["seconds"] = time.monotonic() - started
        write_json(run.summary, summary)
        page = write_report(run.path)
    print(f"test accuracy {summary['test_accuracy']:.4f}; report: {page}; models: {run.export}")


def _training_dataset(model: MetaAugment, data: Dataset, config, first_step: int) -> tf.data.Dataset:
    return training_dataset(
        data.train,
        data.validation,
        model.sampler,
        batch_size=config["batch_size"],
        validation_batch_size=config["validation_batch_size"],
        seed=config["seed"],
        first_step=first_step,
        classes=len(data.class_names),
        augmentation=augmentation_from(config),
        data_service=config["data_service"],
    )


def _fit(model: MetaAugment, dataset, data: Dataset, config, run: RunFolder, stop: StopRequest) -> None:
    """Trains from the newest checkpoint, or from the start, up to the last epoch."""
    checkpoints = Checkpoints(
        model,
        run.checkpoints,
        keep=config["checkpoints_kept"],
        minutes=config["checkpoint_minutes"],
        digest=config_digest(config),
        stop=stop,
    )
    resumed, position = checkpoints.restore(), checkpoints.position
    steps = len(data.train) // config["batch_size"]
    print(
        f"{'going on with' if resumed else 'starting'} {run.path}: epoch {position.epoch + 1} of {config['epochs']}, "
        f"step {position.step + 1} of {steps}; {len(data.train)} training, {len(data.validation)} validation and "
        f"{len(data.test)} test images of {len(data.class_names)} classes, {model.task.count_params():,} parameters"
    )
    fit_resumably(
        model,
        lambda first_step: _training_dataset(model, data, config, first_step) if first_step else dataset,
        checkpoints,
        epochs=config["epochs"],
        validation_data=evaluation_dataset(data.validation),
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[
            HealthGuard(),
            MetricsLog(run.metrics, steps * config["batch_size"]),
            SamplerLog(run.policy),
            keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
            *averaging_callbacks(config),
        ],
    )


def _finish(model: MetaAugment, data: Dataset, config, run: RunFolder) -> dict[str, Any]:
    """Saves what was learned and exports it; returns the summary."""
    use_averages(model)
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
    check_config(config)  # anything may be in a file
    data = load_dataset(config, data_dir)
    model = build_model(config, len(data.class_names), data.train.image_shape, 1)
    if not Checkpoints(model, run.checkpoints, digest=config_digest(config)).restore():
        raise UserError(f"{workdir} has no checkpoint yet; train it first")
    use_averages(model)
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
