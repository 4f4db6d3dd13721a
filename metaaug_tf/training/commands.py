"""What the command line does with a finished run: evaluate, export and report it."""

import json
from collections.abc import Sequence
from pathlib import Path

from metaaug_tf.callbacks.averaging import use_averages
from metaaug_tf.checkpoints.callback import Checkpoints
from metaaug_tf.config import Config, check_config, config_digest
from metaaug_tf.data.evaluation_dataset import evaluation_dataset
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.streamed_examples import broken_files_named
from metaaug_tf.errors import UserError
from metaaug_tf.export.runtimes import check_format, export_runtime
from metaaug_tf.report.page import write_report
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.training.build import build_model
from metaaug_tf.training.finish import export_models
from metaaug_tf.training.job import Job
from metaaug_tf.workers.workers import Workers


def _restored(workdir: Path, data_dir: str | None) -> Job:
    """A run as its newest checkpoint left it, and its data."""
    folder = RunFolder(workdir)
    flat = folder.read_config()
    check_config(flat)  # anything may be in a file
    config = Config.of(flat)
    data = load_dataset(config.data, data_dir)
    model = build_model(config, len(data.class_names), data.train.image_shape, 1)
    if not Checkpoints(model, folder.checkpoints, digest=config_digest(flat)).restore():
        raise UserError(f"{workdir} has no checkpoint yet; train it first")
    use_averages(model)
    return Job(config, folder, data, model, Workers())


def evaluate(workdir: Path, data_dir: str | None) -> None:
    """Prints accuracy and loss of a trained run on its test set."""
    job = _restored(workdir, data_dir)
    test = job.data.test
    with broken_files_named(test):
        result = job.model.evaluate(evaluation_dataset(test), verbose=0, return_dict=True)
    print(json.dumps({"test_accuracy": result["accuracy"], "test_loss": result["loss"], "images": len(test)}))


def export(workdir: Path, data_dir: str | None, formats: Sequence[str]) -> None:
    """Exports a trained run again, as the next version; in `formats` (onnx, litert) too.

    Raises:
        UserError: there is no trained run, or a format that is unknown or not installed.
    """
    for kind in formats:
        check_format(kind)
    job = _restored(workdir, data_dir)
    config, folder = job.config, job.folder
    export_models(job.model, job.data.class_names, config.data.dataset, config.augmentation.fill, folder)
    for kind in formats:
        export_runtime(job.model.task, folder.runtime_export(kind), kind)
    print(f"exported to {folder.export}")


def report(workdir: Path, compare: Sequence[str]) -> None:
    """Writes the report of a finished run again, beside the runs in the folders `compare`."""
    RunFolder(workdir).read_config()
    print(f"report: {write_report(workdir, [Path(folder) for folder in compare])}")
