"""What the command line does with a finished run: evaluate, export and report it."""

import json
from collections.abc import Sequence
from pathlib import Path

from metaaug_tf.callbacks.averaging import use_averages
from metaaug_tf.checkpoints.callback import Checkpoints
from metaaug_tf.config import check_config, config_digest
from metaaug_tf.data.evaluation_dataset import evaluation_dataset
from metaaug_tf.data.examples import Dataset
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.streamed_examples import broken_files_named
from metaaug_tf.errors import UserError
from metaaug_tf.export.runtimes import check_format, export_runtime
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.report.page import write_report
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.training.build import build_model
from metaaug_tf.training.finish import export_models


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
    with broken_files_named(data.test):
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
    export_models(model, data.class_names, run.read_config(), run)
    for kind in formats:
        export_runtime(model.task, run.runtime_export(kind), kind)
    print(f"exported to {run.export}")


def report(workdir: Path, compare: Sequence[str]) -> None:
    """Writes the report of a finished run again, beside the runs in the folders `compare`."""
    RunFolder(workdir).read_config()
    print(f"report: {write_report(workdir, [Path(folder) for folder in compare])}")
