"""What the command line does with a finished run: evaluate, export and report it."""

import json
from collections.abc import Sequence
from pathlib import Path

from metaaug_tf.callbacks.averaging import use_averages
from metaaug_tf.checkpoints.callback import Checkpoints
from metaaug_tf.config import Config, check_config, config_digest
from metaaug_tf.data.evaluation_dataset import evaluation_dataset
from metaaug_tf.data.streamed_examples import broken_files_named
from metaaug_tf.errors import UserError
from metaaug_tf.export.runtimes import check_format, export_runtime
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.report.page import write_report
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.training.build import build_model
from metaaug_tf.training.data_record import load_data_of, read_record
from metaaug_tf.training.finish import export_models


def _settings(folder: RunFolder) -> Config:
    """The run's settings, checked: anything may be in a file."""
    flat = folder.read_config()
    check_config(flat)
    return Config.of(flat)


def _restored(folder: RunFolder, config: Config, classes: int, image_shape: Sequence[int]) -> MetaAugment:
    """The model of a run as its newest checkpoint left it, averaged weights in place."""
    model = build_model(config, classes, image_shape, 1)
    if not Checkpoints(model, folder.checkpoints, digest=config_digest(config.flat)).restore():
        raise UserError(f"{folder.path} has no checkpoint yet; train it first")
    use_averages(model)
    return model


def evaluate(workdir: Path, data_dir: str | None) -> None:
    """Prints accuracy and loss of a trained run on its test set, or on that of other data with the same classes.

    Raises:
        UserError: there is no trained run, or the data have other classes.
    """
    folder = RunFolder(workdir)
    config = _settings(folder)
    data = load_data_of(folder, config, data_dir)
    model = _restored(folder, config, len(data.class_names), data.train.image_shape)
    with broken_files_named(data.test):
        result = model.evaluate(evaluation_dataset(data.test), verbose=0, return_dict=True)
    print(json.dumps({"test_accuracy": result["accuracy"], "test_loss": result["loss"], "images": len(data.test)}))


def export(workdir: Path, data_dir: str | None, formats: Sequence[str]) -> None:
    """Exports a trained run again, as the next version; in `formats` (onnx, litert) too.

    Needs no data: a run keeps the names of its classes. Only those of earlier versions did not keep the images' shape.

    Raises:
        UserError: there is no trained run, or a format that is unknown or not installed.
    """
    for kind in formats:
        check_format(kind)
    folder = RunFolder(workdir)
    config, record = _settings(folder), read_record(folder)
    if record is None:
        data = load_data_of(folder, config, data_dir)
        class_names, image_shape = list(data.class_names), data.train.image_shape
    else:
        class_names, image_shape = record["class_names"], record["image_shape"]
    model = _restored(folder, config, len(class_names), image_shape)
    export_models(model, class_names, config.data.dataset, config.augmentation.fill, folder)
    for kind in formats:
        export_runtime(model.task, folder.runtime_export(kind), kind)
    print(f"exported to {folder.export}")


def report(workdir: Path, compare: Sequence[str]) -> None:
    """Writes the report of a finished run again, beside the runs in the folders `compare`."""
    RunFolder(workdir).read_config()
    print(f"report: {write_report(workdir, [Path(folder) for folder in compare])}")
