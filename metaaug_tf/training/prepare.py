"""Reads a run's data and builds its model, with the other workers if there are any."""

import hashlib
import json

from metaaug_tf.config import Config
from metaaug_tf.data.examples import Examples, LabelledImages, Splits
from metaaug_tf.data.input_shard import check_divisible
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.settings import DataSettings
from metaaug_tf.training.build import build_model
from metaaug_tf.training.job import Job
from metaaug_tf.workers.workers import Workers


def check_batches(config: Config, workers: Workers) -> None:
    """Rejects batches that the devices can't share evenly.

    Raises:
        UserError: names the setting and the nearest sizes that they can.
    """
    sizes = {"batch_size": config.run.batch_size, "validation_batch_size": config.run.validation_batch_size}
    check_divisible(sizes, workers.replicas)


def prepare(config: Config, data_dir: str | None, folder: RunFolder, workers: Workers) -> Job:
    """The job of a run: its data read, its model built.

    Raises:
        UserError: the data or the settings can't be used, or workers read different data.
    """
    data = _load(config.data, data_dir, workers)
    with workers.scope():
        steps = max(1, len(data.train) // config.run.batch_size)
        model = build_model(config, len(data.class_names), data.train.image_shape, steps, data.train)
    return Job(config, folder, data, model, workers)


def _load(settings: DataSettings, data_dir: str | None, workers: Workers) -> Splits:
    """The data; each worker reads its own copy, or all the same one."""
    with workers.rejecting_together():
        data = load_dataset(settings, data_dir)
    sets = (data.train, data.validation, data.test)
    facts = json.dumps([[len(part) for part in sets], data.class_names, list(map(_labels, sets))])
    workers.check_same("data", hashlib.sha256(facts.encode()).hexdigest())
    return data


def _labels(part: LabelledImages) -> list[int] | None:
    return part.labels.tolist() if isinstance(part, Examples) else None
