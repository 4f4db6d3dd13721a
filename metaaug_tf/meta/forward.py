"""One training forward pass of the task network, shared by the virtual and the real update."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from metaaug_tf.meta.losses import PerSampleLoss


@dataclass(frozen=True)
class Task:
    """The task network as the meta-gradient sees it.

    Attributes:
        model: images -> [predictions, features].
        losses: (labels, predictions) -> float [B].
    """

    model: keras.Model
    losses: PerSampleLoss

    def values(self) -> list[tf.Tensor]:
        """The trainable variables' present values, w of the method."""
        return [variable.value for variable in self.model.trainable_variables]

    def apply(self, values: Sequence[tf.Tensor], images: tf.Tensor, labels: tf.Tensor):
        """Losses, predictions, features, new state and regularisation of a training-mode pass at `values`.

        Nothing is assigned: BatchNorm uses the batch's statistics, and every call within a step sees the same
        state, so Dropout draws the same mask in each.
        """
        state = [variable.value for variable in self.model.non_trainable_variables]
        (predictions, features), state, regularisation = self.model.stateless_call(
            values, state, images, training=True, return_losses=True
        )
        # Losses and weights stay in float32 at least when the network computes in bfloat16.
        if predictions.dtype in (tf.bfloat16, tf.float16):
            predictions = tf.cast(predictions, tf.float32)
        return self.losses(labels, predictions), predictions, features, state, regularisation


@dataclass(frozen=True)
class Forward:
    """What one training pass leaves behind; `gradient` may be taken as often as there are weights to try.

    Attributes:
        task: network and loss.
        batch: (images, labels, example_weights or None).
        values: task variables w at which the pass was made.
        losses: float [B], l_i(w).
        predictions: float [B, classes].
        features: float [B, F], gradient stopped.
        state: new values of the non-trainable variables (BatchNorm statistics, seeds), not yet assigned.
        regularisation: float scalar, the network's own regularisation losses, not weighted.
    """

    task: Task
    batch: tuple
    values: list[tf.Tensor]
    losses: tf.Tensor
    predictions: tf.Tensor
    features: tf.Tensor
    state: list[tf.Tensor]
    regularisation: tf.Tensor | None
    tape: tf.GradientTape

    def gradient(self, weights: tf.Tensor, chosen: Sequence[int] | None = None) -> list[tf.Tensor]:
        """grad_w of sum_i weights_i l_i(w), differentiable with respect to weights [B].

        Args:
            weights: float [B].
            chosen: positions of the task variables to differentiate by; all of them by default.
        """
        sources = self.values if chosen is None else [self.values[i] for i in chosen]
        weights = tf.cast(weights, self.losses.dtype)
        return self.tape.gradient(self.losses, sources, output_gradients=weights, unconnected_gradients="zero")

    def losses_at(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        """The batch's losses [B] at other task variables, with the same random draws."""
        images, labels, example_weights = self.batch
        return _scaled(self.task.apply(values, images, labels)[0], example_weights)

    def regularised_gradient(self, weights: tf.Tensor) -> list[tf.Tensor]:
        """The gradient for the real update: `gradient` plus that of the regularisation losses."""
        gradients = self.gradient(weights)
        if self.regularisation is None:
            return gradients
        extra = self.tape.gradient(self.regularisation, self.values, unconnected_gradients="zero")
        return [a + b for a, b in zip(gradients, extra, strict=True)]


def training_forward(task: Task, images: tf.Tensor, labels: tf.Tensor, example_weights=None) -> Forward:
    """Runs the task network once on a training batch, in training mode, assigning nothing.

    Args:
        task: network and loss.
        images: [B, H, W, C].
        labels: whatever the loss takes, first axis B.
        example_weights: float [B] or None, factors on the losses that the user gave (fit's class_weight).
    """
    values = task.values()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        losses, predictions, features, state, regularisation = task.apply(values, images, labels)
        losses = _scaled(losses, example_weights)
        regularisation = tf.add_n(regularisation) if regularisation else None
    batch = (images, labels, example_weights)
    features = tf.stop_gradient(features)  # forgetting it would change the task's gradient silently
    return Forward(task, batch, values, losses, predictions, features, state, regularisation, tape)


def _scaled(losses: tf.Tensor, example_weights) -> tf.Tensor:
    return losses if example_weights is None else losses * tf.cast(example_weights, losses.dtype)
