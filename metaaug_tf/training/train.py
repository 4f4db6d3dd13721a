"""Trains a run, alone or with other workers: the steps of a run in order."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from metaaug_tf.checkpoints.folder import Checkpoint, CheckpointFolder
from metaaug_tf.checkpoints.resume import read_fork
from metaaug_tf.config import Config, as_begun, config_digest
from metaaug_tf.data.service import lost_service_reported
from metaaug_tf.data.streamed_examples import broken_files_named
from metaaug_tf.report.page import write_report
from metaaug_tf.run_folder import RunFolder, check_free, folder_of
from metaaug_tf.signals import StopRequest
from metaaug_tf.training.data_record import (
    check_class_names,
    check_finished,
    keep_or_compare,
    own_class_names,
)
from metaaug_tf.training.finish import evaluate_and_sum_up, save_what_was_learned, write_results
from metaaug_tf.training.fit import fit
from metaaug_tf.training.job import Job
from metaaug_tf.training.prepare import check_batches, prepare
from metaaug_tf.workers.workers import Workers, raising_worker_lost


def train(
    config: Config,
    workdir: Path,
    data_dir: str | None,
    fork: Path | None = None,
    workers: Workers | None = None,
    command: str = "",
) -> None:
    """Trains, or resumes training, the run in `workdir`; then evaluates, exports and reports it.

    Args:
        config: checked.
        workdir: the run's folder; only the chief's counts.
        data_dir: where the data are.
        fork: trains in this new folder instead, from the newest checkpoint of `workdir`; settings may differ.
        workers: with whom; by default alone.
        command: the command line, for summary.json.

    Raises:
        UserError: the workdir, the data or the settings can't be used, or files can't be written.
        Stopped: a signal came to a worker; everything is saved.
        WorkerLost: another worker has died.
    """
    workers, started = workers or Workers(), time.monotonic()
    with raising_worker_lost(workers), folder_of(fork or workdir, workers.is_chief) as folder:
        begun = next((run for run in (folder, RunFolder(workdir)) if run.config.is_file()), None)
        if begun:
            config = as_begun(config, begun.config_as_begun())
        check_batches(config, workers)
        if _is_finished(folder, config, data_dir, workers):
            return
        job = prepare(config, data_dir, folder, workers)
        dataset = job.training_dataset()  # rejects unusable data before a folder is made
        first = _first_checkpoint(job, RunFolder(workdir)) if fork else None
        with _opened(job, data_dir, first) as stop:
            fit(job, dataset, stop)
            workers.check_stop(stop)
            summary = evaluate_and_sum_up(job, command)
            save_what_was_learned(job)
            workers.check_stop(stop)
            write_results(job, summary, started)


def _is_finished(folder: RunFolder, config: Config, data_dir: str | None, workers: Workers) -> bool:
    """Whether there is nothing to train; says so.

    Raises:
        UserError: the folder can't be used, or was trained on other data.
    """
    with workers.rejecting_together():
        folder.check_for(config.flat)
        check_free(folder.path)
        if folder.summary.is_file():
            check_finished(folder, config, data_dir)
    finished = any(workers.collectives.messages("yes" if folder.summary.is_file() else ""))
    if finished and workers.is_chief:
        print(f"{folder.path} is finished: {folder.report if folder.report.is_file() else write_report(folder.path)}")
    return finished


def _first_checkpoint(job: Job, source: RunFolder) -> Checkpoint | None:
    """Of a fork that has none of its own yet: the newest one of `source`; the chief writes it."""
    with job.workers.rejecting_together():
        if job.workers.is_chief and not CheckpointFolder(job.folder.checkpoints).names():
            check_class_names(source, own_class_names(source), job.data.class_names)
            return read_fork(job.model, source, config_digest(job.config.flat))
    return None


@contextlib.contextmanager
def _opened(job: Job, data_dir: str | None, first: Checkpoint | None) -> Iterator[StopRequest]:
    """The run's folder locked and signals noted, while a training and what follows it go on."""
    with contextlib.ExitStack() as opened:
        with job.workers.rejecting_together():
            stop = opened.enter_context(StopRequest())
            opened.enter_context(job.folder.opened_for(job.config.flat))
            keep_or_compare(job, data_dir)
            if first is not None:
                CheckpointFolder(job.folder.checkpoints).write(first)
        opened.enter_context(broken_files_named(job.data.train, job.data.test))
        opened.enter_context(lost_service_reported())
        yield stop
