"""Keras callback that draws the sampler's table anew at the end of each epoch."""

import keras


class SamplerUpdate(keras.callbacks.Callback):
    """Calls `model.sampler.end_epoch()`; MetaAugment.fit adds it where it is not given.

    Example:
        model.fit(dataset, epochs=30, callbacks=[SamplerUpdate()])
    """

    def on_epoch_end(self, epoch, logs=None):
        """Updates probabilities and turns to the next epoch."""
        self.model.sampler.end_epoch()
