"""One training forward pass of the task network, shared by the virtual and the real update."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta import replicas
from metaaug_tf.meta.losses import PerSampleLoss

# Images [B, H, W, C] and their labels, as the loss takes them, first axis B.
LabelledImages = tuple[tf.Tensor, tf.Tensor]


def _no_loss(labels: tf.Tensor, predictions: tf.Tensor, sample_weight: tf.Tensor | None = None, /) -> tf.Tensor:
    raise UserError("the model has no loss yet; call compile() first")


class Pass(NamedTuple):
    """What a training-mode pass of the task network computes; nothing of it is assigned.

    Attributes:
        losses: float [B], l_i.
        predictions: float [B, classes].
        features: float [B, F], phi_i.
        state: new values of the network's non-trainable variables (BatchNorm statistics, seeds).
        regularisation: float scalars, the network's own losses, such as weight penalties; may be empty.
    """

    losses: tf.Tensor
    predictions: tf.Tensor
    features: tf.Tensor
    state: list[tf.Tensor]
    regularisation: list[tf.Tensor]


@dataclass(frozen=True)
class FunctionalTask:
    """The task network as a function f(x; w) of its variables' values, with its loss.

    Attributes:
        network: images -> [predictions, features].
        loss_of: (labels, predictions), and sample weights where there are any -> float [B].
    """

    network: keras.Model
    loss_of: PerSampleLoss = _no_loss

    def values(self) -> list[tf.Tensor]:
        """Returns the present values of the trainable variables, w of the method."""
        return [variable.value for variable in self.network.trainable_variables]

    def apply(
        self,
        values: Sequence[tf.Tensor],
        images: tf.Tensor,
        labels: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> Pass:
        """Runs the network in training mode at `values`, assigning nothing.

        BatchNorm uses the batch's statistics, and every call within a step sees the same state, so Dropout draws the
        same mask in each; only other replicas draw other ones.

        Args:
            values: one tensor for each trainable variable.
            images: [B, H, W, C].
            labels: whatever the loss takes, first axis B.
            sample_weight: float [B] or None, factors on the losses that the user gave.
        """
        values = replicas.guarded(values, examples=tf.shape(images)[0])
        state = self._own_seeds([variable.value for variable in self.network.non_trainable_variables])
        (predictions, features), state, regularisation = self.network.stateless_call(
            values, state, images, training=True, return_losses=True
        )
        state = self._own_seeds(state, sign=-1)
        # Losses and weights stay in float32 at least when the network computes in bfloat16.
        if predictions.dtype in (tf.bfloat16, tf.float16):
            predictions = tf.cast(predictions, tf.float32)
        given = () if sample_weight is None else (sample_weight,)
        return Pass(self.loss_of(labels, predictions, *given), predictions, features, state, regularisation)

    def _own_seeds(self, state: Sequence[tf.Tensor], sign: int = 1) -> list[tf.Tensor]:
        """Returns the state with seeds of this replica's own, or, with sign -1, with the common ones again."""
        variables = self.network.non_trainable_variables
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
        batch: images and labels.
        sample_weight: float [B] or None, factors on the losses that the user gave.
        values: task variables w at which the pass was made.
        losses: float [B], l_i(w), times sample_weight.
        predictions: float [B, classes].
        features: float [B, F], gradient stopped.
        state: new values of the non-trainable variables (BatchNorm statistics, seeds), not yet assigned.
        regularisation: float scalar, the network's own regularisation losses, not weighted; None where it has none.
        tape: has recorded losses and regularisation as functions of `values`.
        shard: where the B examples stand in the global batch.
    """

    task: FunctionalTask
    batch: LabelledImages
    sample_weight: tf.Tensor | None
    values: list[tf.Tensor]
    losses: tf.Tensor
    predictions: tf.Tensor
    features: tf.Tensor
    state: list[tf.Tensor]
    regularisation: tf.Tensor | None
    tape: tf.GradientTape
    shard: replicas.Shard

    def gradient(self, weights: tf.Tensor, chosen: Sequence[int] | None = None) -> list[tf.Tensor]:
        """Returns grad_w of sum_i weights_i l_i(w), differentiable with respect to weights [B].

        The sum is over this replica's shard; replicas.total of it is the gradient by the global batch.

        Args:
            weights: float [B].
            chosen: positions of the task variables to differentiate by; all of them by default.
        """
        sources = self.values if chosen is None else [self.values[i] for i in chosen]
        weights = tf.cast(weights, self.losses.dtype)
        return self.tape.gradient(self.losses, sources, output_gradients=weights, unconnected_gradients="zero")

    def losses_at(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the batch's losses [B] at other task variables, with the same random draws."""
        return self.task.apply(values, *self.batch, self.sample_weight).losses

    def regularised_gradient(self, weights: tf.Tensor) -> list[tf.Tensor]:
        """Returns `gradient` plus that of the regularisation losses, for the real update; to be summed likewise."""
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
        variables, state = self.task.network.non_trainable_variables, list(self.state)
        moving = [i for i, variable in enumerate(variables) if tf.as_dtype(variable.dtype).is_floating]
        if replicas.count() > 1 and moving:
            old = [tf.convert_to_tensor(variables[i].value) for i in moving]
            changes = replicas.total([self.shard.part(state[i] - value) for i, value in zip(moving, old, strict=True)])
            for i, value, change in zip(moving, old, changes, strict=True):
                state[i] = value + change
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)


def training_forward(
    task: FunctionalTask, images: tf.Tensor, labels: tf.Tensor, sample_weight: tf.Tensor | None = None
) -> Forward:
    """Runs the task network once on a training batch, in training mode, assigning nothing.

    Args:
        task: network and loss.
        images: [B, H, W, C].
        labels: whatever the loss takes, first axis B.
        sample_weight: float [B] or None, factors on the losses that the user gave (also fit's class_weight).
    """
    values = task.values()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        found = task.apply(values, images, labels, sample_weight)
        regularisation = tf.add_n(found.regularisation) if found.regularisation else None
    return Forward(
        task=task,
        batch=(images, labels),
        sample_weight=sample_weight,
        values=values,
        losses=found.losses,
        predictions=found.predictions,
        features=tf.stop_gradient(found.features),  # weights made of them are constants to the task's gradient
        state=found.state,
        regularisation=regularisation,
        tape=tape,
        shard=replicas.shard(tf.size(found.losses)),
    )
