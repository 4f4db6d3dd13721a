"""The meta-gradient: how the policy's weights change the validation loss after the task's next step."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta import replicas
from metaaug_tf.meta.choices import METHODS, chosen_function
from metaaug_tf.meta.forward import Forward, FunctionalTask, LabelledImages, training_forward
from metaaug_tf.meta.losses import default_loss, per_sample_loss
from metaaug_tf.meta.weights import policy_weights
from metaaug_tf.tasks.features import last_block_variables, with_features

# () -> p(theta), float [B] of this replica's images, differentiable in the policy's variables.
WeightFunction = Callable[[], tf.Tensor]

# Length of the step that finite_difference takes through the task variables. Shorter ones drown in float32's
# rounding of the losses, longer ones in their curvature.
DIFFERENCE_LENGTH = 1e-2


@dataclass(frozen=True)
class MetaGradient:
    """Result of a method, the same on all replicas.

    Attributes:
        gradients: of the validation loss after the virtual update, one per policy variable.
        validation_loss: float scalar, L_val(w_hat).
    """

    gradients: list[tf.Tensor]
    validation_loss: tf.Tensor


class GradientMethod(Protocol):
    """A way to take the meta-gradient (method.md, steps 3 and 4): a row of meta.choices.METHODS."""

    def __call__(
        self,
        forward: Forward,
        weights: WeightFunction,
        variables: Sequence[keras.Variable],
        validation: LabelledImages,
        learning_rate: float | tf.Tensor,
    ) -> MetaGradient:
        """Returns the gradient of L_val(w_hat(theta)); assigns nothing.

        Args:
            forward: the training pass at w.
            weights: () -> p(theta), float [B], this replica's part of weights that are over the global batch.
            variables: the policy's trainable variables, theta.
            validation: images [M, H, W, C] and labels.
            learning_rate: alpha of the virtual update, scalar.
        """


def exact(
    forward: Forward,
    weights: WeightFunction,
    variables: Sequence[keras.Variable],
    validation: LabelledImages,
    learning_rate: float | tf.Tensor,
) -> MetaGradient:
    """Takes the second-order gradient by nested tapes; arguments as in `GradientMethod`.

    The inner tape made the forward pass; the outer one records its gradient, the virtual update and the
    validation loss. stateless_call evaluates the network at w_hat, which is a tensor and so keeps the gradient.
    """
    return _nested(forward, weights, variables, validation, learning_rate, range(len(forward.values)))


def last_block(
    forward: Forward,
    weights: WeightFunction,
    variables: Sequence[keras.Variable],
    validation: LabelledImages,
    learning_rate: float | tf.Tensor,
) -> MetaGradient:
    """Does as `exact`, but the virtual update moves the last layers' variables only.

    Validation images still pass the whole network once; everything that is differentiated stays in its end.
    Which layers are the end: tasks.features.last_block_variables.
    """
    end = {id(variable) for variable in last_block_variables(forward.task.network)}
    chosen = [i for i, variable in enumerate(forward.task.network.trainable_variables) if id(variable) in end]
    return _nested(forward, weights, variables, validation, learning_rate, chosen)


def _nested(
    forward: Forward,
    weights: WeightFunction,
    variables: Sequence[keras.Variable],
    validation: LabelledImages,
    learning_rate: float | tf.Tensor,
    chosen: Sequence[int],
) -> MetaGradient:
    """Takes the meta-gradient where only the task variables at the positions `chosen` take the virtual update."""
    with tf.GradientTape() as outer:
        w_hat = list(forward.values)
        # The gradient of this sum over the replicas is again one: of the validation loss's gradient.
        for i, gradient in zip(chosen, replicas.total(forward.gradient(weights(), chosen)), strict=True):
            w_hat[i] = w_hat[i] - tf.cast(learning_rate, gradient.dtype) * gradient
        validation_loss = _validation_part(forward, w_hat, validation)
    return _meta_gradient(outer, validation_loss, variables, validation_loss)


def finite_difference(
    forward: Forward,
    weights: WeightFunction,
    variables: Sequence[keras.Variable],
    validation: LabelledImages,
    learning_rate: float | tf.Tensor,
) -> MetaGradient:
    """Takes the meta-gradient from a one-sided difference of the per-sample losses; arguments as in `GradientMethod`.

    dL_val/dp_i = -alpha <grad l_i(w), v> with v = grad L_val(w_hat), so one more forward pass at w + h v gives
    -alpha (l_i(w + h v) - l_i(w)) / h. The length of the step h v is fixed; see docs/meta-gradient.md.
    """
    gradients = replicas.total(forward.gradient(weights()))
    w_hat = [w - tf.cast(learning_rate, w.dtype) * g for w, g in zip(forward.values, gradients, strict=True)]
    with tf.GradientTape() as tape:
        tape.watch(w_hat)
        validation_loss = _validation_part(forward, w_hat, validation)
    direction = replicas.total(tape.gradient(validation_loss, w_hat, unconnected_gradients="zero"))
    step = DIFFERENCE_LENGTH / tf.maximum(tf.linalg.global_norm(direction), 1e-12)
    moved = [w + tf.cast(step, w.dtype) * v for w, v in zip(forward.values, direction, strict=True)]
    slopes = (forward.losses_at(moved) - forward.losses) / tf.cast(step, forward.losses.dtype)
    signal = -tf.cast(learning_rate, slopes.dtype) * slopes  # made outside of the tape below, so a constant to it
    with tf.GradientTape() as tape:
        first_order = tf.reduce_sum(signal * weights())
    return _meta_gradient(tape, first_order, variables, validation_loss)


def _validation_part(forward: Forward, w_hat: Sequence[tf.Tensor], validation: LabelledImages) -> tf.Tensor:
    """Returns what this replica adds to L_val(w_hat), the mean over the global validation batch."""
    losses = forward.task.apply(w_hat, *validation).losses
    return replicas.shard(tf.size(losses)).part(tf.reduce_mean(losses))


def _meta_gradient(
    tape: tf.GradientTape, target: tf.Tensor, variables: Sequence[keras.Variable], validation_loss: tf.Tensor
) -> MetaGradient:
    """Differentiates the target by the policy's variables; sums the result and the validation loss over replicas."""
    sources = [variable.value for variable in variables]
    gradients = tape.gradient(target, sources, unconnected_gradients="zero")
    *gradients, validation_loss = replicas.total([*gradients, validation_loss])
    return MetaGradient(gradients, validation_loss)


def find_method(name: str) -> GradientMethod:
    """Returns the method that METHODS has by that name.

    Raises:
        UserError: there is none.
    """
    return chosen_function("meta_gradient", METHODS, name)


def meta_gradient(
    task: keras.Model,
    policy: keras.Model,
    batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    validation: LabelledImages,
    learning_rate: float | tf.Tensor,
    method: str = "exact",
    loss: keras.losses.Loss | Callable | str | None = None,
    normalise_weights: bool = True,
    feature_layer: str | None = None,
) -> list[tf.Tensor]:
    """Returns the gradient of the validation loss after the task's next step by the policy's variables.

    L_val(w - learning_rate * grad_w sum_i p_i l_i(w)), p_i the weights that the policy gives (method.md, steps 2
    to 4). Every variable stays as it was.

    Args:
        task: functional Keras classifier whose last layer is Dense.
        policy: called as policy(features [B, F], embedding [B, 28]); returns raw weights [B].
        batch: (images [B, H, W, C], labels, embedding [B, 28]).
        validation: (images [M, H, W, C], labels), M at least 1.
        learning_rate: alpha of the virtual update.
        method: a name in METHODS.
        loss: a Keras loss; by default sparse categorical cross-entropy, from logits where the task's last Dense
            layer has no softmax.
        normalise_weights: weights sum to 1 over the batch; otherwise they are divided by its size.
        feature_layer: where features are taken, if not before the last Dense layer.

    Returns:
        One tensor per policy.trainable_variables.

    Raises:
        UserError: unknown method, no feature vector in the task, empty validation batch.
    """
    if validation[0].shape[0] == 0:
        raise UserError("the validation batch is empty; the meta-gradient is the gradient of the loss on it")
    take = find_method(method)
    loss_of = per_sample_loss(default_loss(task) if loss is None else loss)
    images, labels, embedding = batch
    forward = training_forward(FunctionalTask(with_features(task, feature_layer), loss_of), images, labels)
    weights = functools.partial(policy_weights, policy, forward, embedding, normalise_weights)
    return take(forward, weights, policy.trainable_variables, validation, learning_rate).gradients


def meta_gradient_agreement(model: keras.Model, data: tuple) -> Mapping[str, Mapping[str, float]]:
    """Compares each method with `exact` at the model's present variables; nothing is changed.

    Costs a step of each method. As a first look at whether a cheap method will do:

        for name, row in ma.meta_gradient_agreement(model, next(iter(dataset))).items():
            print(name, row["cosine"], row["relative_error"])

    Args:
        model: a compiled MetaAugment with a policy network.
        data: one batch of its training dataset, (inputs, labels) or (inputs, labels, sample_weight).

    Returns:
        {method: {"cosine", "relative_error"}} for all methods but `exact`: of the gradients by all policy variables
        as one vector, e.g. relative_error = |g - g_exact| / |g_exact|.

    Raises:
        UserError: the model has no policy network, or is not compiled.
    """
    if model.policy_network is None or not model.compiled:
        raise UserError("meta_gradient_agreement needs a compiled MetaAugment with a policy network")
    flat = {name: _flat(_gradients(model, data, find_method(name))) for name in METHODS}
    exact = flat.pop("exact")
    return {name: _compare(gradient, exact) for name, gradient in flat.items()}


def _gradients(model: keras.Model, data: tuple, method: GradientMethod) -> list[tf.Tensor]:
    """Returns the model's policy gradients; under a strategy all replicas take the same batch, so the mean is of it."""
    strategy = model.distribute_strategy
    results = strategy.run(model.policy_gradients, args=(data, method))
    return [strategy.experimental_local_results(result)[0] for result in results]


def _flat(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0)


def _compare(gradient: tf.Tensor, exact: tf.Tensor) -> dict[str, float]:
    norm = tf.norm(exact)
    cosine = tf.reduce_sum(gradient * exact) / (tf.norm(gradient) * norm)
    return {"cosine": float(cosine), "relative_error": float(tf.norm(gradient - exact) / norm)}
