"""What travels together through a run once its data are read and its model is built."""

from dataclasses import dataclass

import tensorflow as tf

from metaaug_tf.config import Config
from metaaug_tf.data.examples import Splits
from metaaug_tf.data.training_dataset import training_dataset
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.workers.workers import Workers


@dataclass(frozen=True)
class Job:
    """A run in one process.

    Attributes:
        config: its settings.
        folder: where its files are; a scratch folder for workers that are not the chief.
        data: its images.
        model: compiled.
        workers: who trains together.
    """

    config: Config
    folder: RunFolder
    data: Splits
    model: MetaAugment
    workers: Workers

    @property
    def steps_per_epoch(self) -> int:
        """Number of training steps of an epoch; a last batch that is not full is left out."""
        return len(self.data.train) // self.config.run.batch_size

    def training_dataset(self, first_step: int = 0, distributed: bool = True) -> tf.data.Dataset:
        """One epoch of training batches from `first_step` on; whole ones on every worker unless distributed."""
        run = self.config.run
        return training_dataset(
            self.data.train,
            self.data.validation,
            self.model.sampler,
            batch_size=run.batch_size,
            validation_batch_size=run.validation_batch_size,
            seed=run.seed,
            first_step=first_step,
            classes=len(self.data.class_names),
            augmentation=self.config.augmentation,
            data_service=run.data_service,
            strategy=self.model.distribute_strategy if distributed else None,
        )
