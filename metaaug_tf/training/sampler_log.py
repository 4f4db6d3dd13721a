"""Keras callback that writes the sampler's table, and how it moved, into the run's policy folder."""

from pathlib import Path

import keras

from metaaug_tf.policy.folder import write_sampler


class SamplerLog(keras.callbacks.Callback):
    """Writes sampler.json when training starts and after each epoch.

    Example:
        model.fit(dataset, epochs=30, callbacks=[SamplerLog(Path("runs/x/policy"))])
    """

    def __init__(self, folder: Path):
        """Writes into `folder`, which is made where it is not there."""
        super().__init__()
        self._folder = folder

    def _write(self):
        sampler = self.model.sampler
        write_sampler(self._folder, sampler.probabilities.numpy(), int(sampler.epoch.numpy()))

    def on_train_begin(self, logs=None):
        """Writes the table that the first epoch draws from."""
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the table that the next epoch draws from."""
        self._write()
