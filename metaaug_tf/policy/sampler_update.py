"""Keras callback that draws the sampler's table anew at the end of each epoch."""

import keras


class SamplerUpdate(keras.callbacks.Callback):
    """Calls `model.sampler.end_epoch()`; MetaAugment.fit adds it where it is not given.

    Example:
        import keras, numpy as np
        import metaaug_tf as ma

        random = np.random.default_rng(0)
        images, labels = random.integers(0, 256, (32, 8, 8, 3), dtype=np.uint8), np.arange(32, dtype=np.int32) % 2
        task = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        model = ma.MetaAugment(task)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss=loss, jit_compile=False)
        examples = ma.Examples(images, labels)
        dataset = ma.training_dataset(examples, examples, model.sampler, batch_size=16)
        model.fit(dataset, epochs=1, verbose=0, callbacks=[ma.SamplerUpdate()])
    """

    def on_epoch_end(self, epoch, logs=None):
        """Updates probabilities and turns to the next epoch."""
        self.model.sampler.end_epoch()
