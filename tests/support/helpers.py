"""Small networks and batches that the tests of the training step share."""

import keras
import numpy as np
import tensorflow as tf

import metaaug_tf as ma


def tiny_task(classes=4, size=8, batch_norm=False, dropout=0.0, dtype="float32", seed=1, regularizer=None):
    """Two convolutions and a Dense layer of logits; smooth (tanh), so that finite differences hold."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input((size, size, 3), dtype=dtype)
    x = layers.Rescaling(1 / 255, dtype=dtype)(inputs)
    for channels in (4, 6):
        x = layers.Conv2D(channels, 3, strides=2, dtype=dtype, kernel_regularizer=regularizer)(x)
        if batch_norm:
            x = layers.BatchNormalization(dtype=dtype)(x)
        x = layers.Activation("tanh", dtype=dtype)(x)
        if dropout:
            x = layers.Dropout(dropout, seed=5, dtype=dtype)(x)
    x = layers.Flatten(dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(classes, dtype=dtype, name="logits")(x))


def random_batch(batch=6, validation=5, classes=4, size=8, seed=0):
    """What training_dataset yields, at random: (inputs, labels)."""
    random = np.random.default_rng(seed)

    def images(count):
        return tf.constant(random.integers(0, 256, (count, size, size, 3)), tf.uint8)

    inputs = {
        "images": images(batch),
        "pairs": tf.constant(random.integers(0, 14, (batch, 2)), tf.int32),
        "magnitudes": tf.constant(random.uniform(-10, 10, (batch, 2)), tf.float32),
        "validation_images": images(validation),
        "validation_labels": tf.constant(random.integers(0, classes, validation), tf.int32),
    }
    return inputs, tf.constant(random.integers(0, classes, batch), tf.int32)


def values_of(variables):
    """Copies of the variables' values."""
    return [variable.numpy().copy() for variable in variables]


def random_examples(count, seed, classes=4, size=8):
    """Labelled images at random, as a source would give them."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ma.Examples(images, random.integers(0, classes, count).astype(np.int32))
