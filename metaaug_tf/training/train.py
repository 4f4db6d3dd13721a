"""Trains a run, alone or with other workers: what all of them do, and what the chief writes."""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from metaaug_tf.augmentation.augment import augmentation_from
from metaaug_tf.callbacks.averaging import averaging_callbacks
from metaaug_tf.callbacks.health_guard import HealthGuard
from metaaug_tf.callbacks.run_logs import MetricsLog, SamplerLog
from metaaug_tf.checkpoints.callback import Checkpoints
from metaaug_tf.checkpoints.folder import CheckpointFolder
from metaaug_tf.checkpoints.resume import fit_resumably, read_fork
from metaaug_tf.config import config_digest
from metaaug_tf.data.evaluation_dataset import evaluation_dataset
from metaaug_tf.data.examples import Dataset, Examples
from metaaug_tf.data.input_shard import check_divisible
from metaaug_tf.data.service import lost_service_told
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.streamed_examples import broken_files_named
from metaaug_tf.data.training_dataset import training_dataset
from metaaug_tf.files import write_json
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.report.page import write_report
from metaaug_tf.run_folder import RunFolder, check_free, folder_of
from metaaug_tf.signals import StopRequest
from metaaug_tf.training.build import build_model
from metaaug_tf.training.finish import evaluate_and_sum_up, measure_step_ratio, save_what_was_learned
from metaaug_tf.workers.workers import Workers, raising_worker_lost


def train(
    config: Mapping[str, Any],
    workdir: Path,
    data_dir: str | None,
    fork: Path | None = None,
    workers: Workers | None = None,
) -> None:
    """Trains, or goes on training, the run in `workdir`; then evaluates, exports and reports it.

    Args:
        config: checked.
        workdir: the run's folder; only the chief's counts.
        data_dir: where the data are.
        fork: goes on in this new folder instead, from the newest checkpoint of `workdir`; settings may differ.
        workers: with whom; by default alone.

    Raises:
        UserError: the workdir, the data or the settings can't be used, or files can't be written.
        Stopped: a signal came to a worker; everything is saved.
        WorkerLost: another worker has died.
    """
    workers = workers or Workers()
    with raising_worker_lost(workers), folder_of(fork or workdir, workers.is_chief) as run:
        started = time.monotonic()
        check_divisible({key: config[key] for key in ("batch_size", "validation_batch_size")}, workers.replicas)
        if _is_finished(run, config, workers):
            return
        data = _load(config, data_dir, workers)
        with workers.scope():
            steps = max(1, len(data.train) // config["batch_size"])
            model = build_model(config, len(data.class_names), data.train.image_shape, steps)
        dataset = _training_dataset(model, data, config)  # refuses data that don't do before a folder is made
        with workers.rejecting_together():
            forking = fork and workers.is_chief and not CheckpointFolder(run.checkpoints).names()
            first = read_fork(model, RunFolder(workdir), config_digest(config)) if forking else None
        with contextlib.ExitStack() as opened:
            with workers.rejecting_together():
                stop = opened.enter_context(StopRequest())
                opened.enter_context(run.opened_for(config))
                if first is not None:
                    CheckpointFolder(run.checkpoints).write(first)
            opened.enter_context(broken_files_named(data.train, data.test))
            opened.enter_context(lost_service_told())
            _fit(model, dataset, data, config, run, stop, workers)
            workers.check_stop(stop)
            _finish(model, data, config, run, stop, workers, started)


def _is_finished(run: RunFolder, config: Mapping[str, Any], workers: Workers) -> bool:
    """Whether there is nothing to train; says so.

    Raises:
        UserError: the folder can't be used.
    """
    with workers.rejecting_together():
        run.check_for(config)
        check_free(run.path)
    finished = any(workers.collectives.messages("yes" if run.summary.is_file() else ""))
    if finished and workers.is_chief:
        page = run.path / "report.html"
        print(f"{run.path} is finished: {page if page.is_file() else write_report(run.path)}")
    return finished


def _load(config: Mapping[str, Any], data_dir: str | None, workers: Workers) -> Dataset:
    """The data; each worker reads its own copy, or all the same one."""
    with workers.rejecting_together():
        data = load_dataset(config, data_dir)
    sets = (data.train, data.validation, data.test)
    labels = [part.labels.tolist() if isinstance(part, Examples) else None for part in sets]
    facts = json.dumps([[len(part) for part in sets], data.class_names, labels])
    workers.check_same("data", hashlib.sha256(facts.encode()).hexdigest())
    return data


def _training_dataset(
    model: MetaAugment, data: Dataset, config, first_step: int = 0, distributed: bool = True
) -> tf.data.Dataset:
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
        strategy=model.distribute_strategy if distributed else None,
    )


def _fit(model: MetaAugment, dataset, data: Dataset, config, run: RunFolder, stop: StopRequest, workers: Workers):
    """Trains from the newest checkpoint, or from the start, up to the last epoch."""
    checkpoints = Checkpoints(
        model,
        run.checkpoints,
        keep=config["checkpoints_kept"],
        minutes=config["checkpoint_minutes"],
        digest=config_digest(config),
        stop=stop,
        workers=workers,
    )
    resumed = checkpoints.restore()
    steps = len(data.train) // config["batch_size"]
    if workers.is_chief:
        _announce(model, data, config, run, checkpoints, "going on with" if resumed else "starting")
    fit_resumably(
        model,
        lambda first_step: _training_dataset(model, data, config, first_step) if first_step else dataset,
        checkpoints,
        epochs=config["epochs"],
        validation_data=evaluation_dataset(data.validation, replicas=workers.replicas),
        verbose=(1 if sys.stdout.isatty() else 2) if workers.is_chief else 0,
        callbacks=[
            HealthGuard(),
            MetricsLog(run.metrics, steps * config["batch_size"]),
            SamplerLog(run.policy),
            keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
            *averaging_callbacks(config),
        ],
    )


def _announce(model: MetaAugment, data: Dataset, config, run: RunFolder, checkpoints: Checkpoints, verb: str) -> None:
    position, devices = checkpoints.position, model.distribute_strategy.num_replicas_in_sync
    also = " (trained on as well)" if config["train_on_validation"] else ""
    print(
        f"{verb} {run.path}: epoch {position.epoch + 1} of {config['epochs']}, "
        f"step {position.step + 1} of {len(data.train) // config['batch_size']}; {len(data.train)} training, "
        f"{len(data.validation)} validation{also} and {len(data.test)} test images of {len(data.class_names)} classes, "
        f"{model.task.count_params():,} parameters{f', {devices} devices' * (devices > 1)}"
    )


def _finish(model: MetaAugment, data: Dataset, config, run: RunFolder, stop, workers: Workers, started: float) -> None:
    """Evaluates with all workers; the chief exports, and writes summary and report."""
    summary = evaluate_and_sum_up(model, data, config, run, workers)
    with workers.rejecting_together(), run.writing():
        if workers.is_chief:
            save_what_was_learned(model, data, config, run)
    workers.check_stop(stop)
    if config["measure_step_ratio"]:
        whole_batches = _training_dataset(model, data, config, distributed=False)
        summary["step_ratio"] = measure_step_ratio(model, whole_batches, config, len(data.class_names))
    summary["seconds"] = time.monotonic() - started
    with workers.rejecting_together(), run.writing():
        if workers.is_chief:
            write_json(run.summary, summary)
            page = write_report(run.path)
            print(f"test accuracy {summary['test_accuracy']:.4f}; report: {page}; models: {run.export}")
