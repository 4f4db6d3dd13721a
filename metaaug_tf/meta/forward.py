"""One training forward pass of the task network, shared by the virtual and the real update."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta import replicas
from metaaug_tf.meta.losses import PerSampleLoss


def _not_compiled(labels, predictions):
    raise UserError("the model has no loss yet; call compile() first")


@dataclass(frozen=True)
class Task:
    """The task network as the meta-gradient sees it.

    Attributes:
        model: images -> [predictions, features].
        losses: (labels, predictions) -> float [B].
    """

    model: keras.Model
    losses: PerSampleLoss = _not_compiled

    def values(self) -> list[tf.Tensor]:
        """The trainable variables' present values, w of the method."""
        return [variable.value for variable in self.model.trainable_variables]

    def apply(self, values: Sequence[tf.Tensor], images: tf.Tensor, labels: tf.Tensor):
        """Losses, predictions, features, new state and regularisation of a training-mode pass at `values`.

        Nothing is assigned: BatchNorm uses the batch's statistics, and every call within a step sees the same
        state, so Dropout draws the same mask in each; only other replicas draw other ones.
        """
        values = replicas.guarded(values, examples=tf.shape(images)[0])
        state = self._own_seeds([variable.value for variable in self.model.non_trainable_variables])
        (predictions, features), state, regularisation = self.model.stateless_call(
            values, state, images, training=True, return_losses=True
        )
        state = self._own_seeds(state, sign=-1)
        # Losses and weights stay in float32 at least when the network computes in bfloat16.
        if predictions.dtype in (tf.bfloat16, tf.float16):
            predictions = tf.cast(predictions, tf.float32)
        return self.losses(labels, predictions), predictions, features, state, regularisation

    def _own_seeds(self, state: Sequence[tf.Tensor], sign: int = 1) -> list[tf.Tensor]:
        """The state with seeds of this replica's own, or, with sign -1, with the common ones again."""
        variables = self.model.non_trainable_variables
        return [
            replicas.own_seed(value, sign) if variable.name == "seed_generator_state" else value
            for variable, value in zip(variables, state, strict=True)
        ]


@dataclass(frozen=True)
class Forward:
    """What one training pass leaves behind; `gradient` may be taken as often as there are weights to try.

    Under a strategy with several replicas it is the pass over this replica's shard of the batch.

    Attributes:
        task: network and loss.
        batch: (images, labels, example_weights or None).
        values: task variables w at which the pass was made.
        losses: float [B], l_i(w).
        predictions: float [B, classes].
        features: float [B, F], gradient stopped.
        state: new values of the non-trainable variables (BatchNorm statistics, seeds), not yet assigned.
        regularisation: float scalar, the network's own regularisation losses, not weighted.
        shard: where the B examples stand in the global batch.
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
    shard: replicas.Shard

    def gradient(self, weights: tf.Tensor, chosen: Sequence[int] | None = None) -> list[tf.Tensor]:
        """grad_w of sum_i weights_i l_i(w), differentiable with respect to weights [B].

        The sum is over this replica's shard; replicas.total of it is the gradient by the global batch.

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
        """The gradient for the real update: `gradient` plus that of the regularisation losses, to be summed up too."""
        gradients = self.gradient(weights)
        if self.regularisation is None:
            return gradients
        extra = self.tape.gradient(self.regularisation, self.values, unconnected_gradients="zero")
        return [a + self.shard.part(b) for a, b in zip(gradients, extra, strict=True)]

    def keep_state(self) -> None:
        """Assigns the new state: the only change of BatchNorm statistics and seeds in a step.

        Floats take the mean of their changes over the replicas, so that they stay equal on all of them and what did
        not change stays as it was, to the bit.
        """
        variables, state = self.task.model.non_trainable_variables, list(self.state)
        moving = [i for i, variable in enumerate(variables) if tf.as_dtype(variable.dtype).is_floating]
        if replicas.count() > 1 and moving:
            old = [tf.convert_to_tensor(variables[i].value) for i in moving]
            changes = replicas.total([self.shard.part(state[i] - value) for i, value in zip(moving, old, strict=True)])
            for i, value, change in zip(moving, old, changes, strict=True):
                state[i] = value + change
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)


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
    shard = replicas.shard(tf.size(losses))
    return Forward(task, batch, values, losses, predictions, features, state, regularisation, tape, shard)


def _scaled(losses: tf.Tensor, example_weights) -> tf.Tensor:
    return losses if example_weights is None else losses * tf.cast(example_weights, losses.dtype)
