"""Trains a job from its newest checkpoint, or from the start, up to the last epoch."""

import sys

import keras
import tensorflow as tf

from metaaug_tf.callbacks.averaging import averaging_callbacks
from metaaug_tf.callbacks.health_guard import HealthGuard
from metaaug_tf.callbacks.run_logs import MetricsLog, SamplerLog, TensorBoardLog
from metaaug_tf.checkpoints.callback import Checkpoints
from metaaug_tf.checkpoints.resume import fit_resumably
from metaaug_tf.config import config_digest
from metaaug_tf.data.evaluation_dataset import evaluation_dataset
from metaaug_tf.signals import StopRequest
from metaaug_tf.training.job import Job


def fit(job: Job, dataset: tf.data.Dataset, stop: StopRequest) -> None:
    """Trains; the chief prints and writes, the others do the same in silence.

    Args:
        job: what to train.
        dataset: its training batches from an epoch's first step on.
        stop: where signals are noted; training stops after a checkpoint when one has come.

    Raises:
        UserError: the loss is not finite, or a file can't be written.
        Stopped: a signal came to a worker.
    """
    checkpoints = Checkpoints(
        job.model,
        job.folder.checkpoints,
        keep=job.config.run.checkpoints_kept,
        minutes=job.config.run.checkpoint_minutes,
        digest=config_digest(job.config.flat),
        stop=stop,
        workers=job.workers,
    )
    resumed = checkpoints.restore()
    if job.workers.is_chief:
        print(_first_line(job, checkpoints, "resuming" if resumed else "starting"))
    fit_resumably(
        job.model,
        lambda first_step: job.training_dataset(first_step) if first_step else dataset,
        checkpoints,
        epochs=job.config.run.epochs,
        validation_data=evaluation_dataset(job.data.validation, replicas=job.workers.replicas),
        verbose=(1 if sys.stdout.isatty() else 2) if job.workers.is_chief else 0,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: job.folder.check_still_there()),
            HealthGuard(),
            MetricsLog(job.folder.metrics, job.steps_per_epoch * job.config.run.batch_size),
            SamplerLog(job.folder.policy),
            TensorBoardLog(job.folder.tensorboard, write_graph=False),
            *averaging_callbacks(job.config.optimizer),
        ],
    )


def _first_line(job: Job, checkpoints: Checkpoints, verb: str) -> str:
    position, data = checkpoints.position, job.data
    also = " (trained on as well)" if job.config.data.train_on_validation else ""
    devices = f", {job.workers.replicas} devices" if job.workers.replicas > 1 else ""
    return (
        f"{verb} {job.folder.path}: epoch {position.epoch + 1} of {job.config.run.epochs}, step {position.step + 1} of "
        f"{job.steps_per_epoch}; {len(data.train)} training, {len(data.validation)} validation{also} and "
        f"{len(data.test)} test images of {len(data.class_names)} classes, {job.model.task.count_params():,} parameters"
        f"{devices}"
    )
