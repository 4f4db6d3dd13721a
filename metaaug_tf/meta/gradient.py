"""The meta-gradient: how the policy's weights change the validation loss after the task's next step."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta.forward import Forward, Task, training_forward
from metaaug_tf.meta.losses import default_loss, per_sample_loss
from metaaug_tf.tasks.features import with_features

WeightFunction = Callable[[], tf.Tensor]


@dataclass(frozen=True)
class MetaGradient:
    """Result of a method.

    Attributes:
        gradients: of the validation loss after the virtual update, one per policy variable.
        validation_loss: float scalar, L_val(w_hat).
    """

    gradients: list[tf.Tensor]
    validation_loss: tf.Tensor


def sample_weights(raw_weights: tf.Tensor, normalise: bool = True) -> tf.Tensor:
    """Weights p of the batch from the policy's raw weights r (method.md, step 2).

    Args:
        raw_weights: float [B], r_i in (0, 1).
        normalise: p_i = r_i / sum_j r_j; otherwise p_i = r_i / B.
    """
    total = tf.reduce_sum(raw_weights) if normalise else tf.cast(tf.size(raw_weights), raw_weights.dtype)
    return raw_weights / total


def exact(task: Task, forward: Forward, weights: WeightFunction, variables, validation, learning_rate):
    """Second-order gradient by nested tapes (method.md, steps 3 and 4).

    The inner tape made the forward pass; the outer one records its gradient, the virtual update and the
    validation loss. stateless_call evaluates the network at w_hat, which is a tensor and so keeps the gradient.

    Args:
        task: network and loss.
        forward: the training pass at w.
        weights: () -> p(theta), float [B], differentiable in `variables`.
        variables: the policy's trainable variables.
        validation: (images [M, H, W, C], labels [M, ...]).
        learning_rate: alpha of the virtual update.
    """
    with tf.GradientTape() as outer:
        gradients = forward.gradient(weights())
        w_hat = [w - tf.cast(learning_rate, w.dtype) * g for w, g in zip(forward.values, gradients, strict=True)]
        losses, *_ = task.apply(w_hat, *validation)
        validation_loss = tf.reduce_mean(losses)
    sources = [variable.value for variable in variables]
    meta_gradients = outer.gradient(validation_loss, sources, unconnected_gradients="zero")
    return MetaGradient(meta_gradients, validation_loss)


METHODS: dict[str, Callable[..., MetaGradient]] = {"exact": exact}


def find_method(name: str) -> Callable[..., MetaGradient]:
    """The method of that name.

    Raises:
        UserError: there is none.
    """
    if name not in METHODS:
        raise UserError(f"unknown meta_gradient {name!r}; there are: {', '.join(METHODS)}")
    return METHODS[name]


def meta_gradient(
    task,
    policy,
    batch,
    validation,
    learning_rate,
    method="exact",
    loss=None,
    normalise_weights=True,
    feature_layer=None,
) -> list[tf.Tensor]:
    """Gradient of the validation loss after the task's next step, with respect to the policy's variables.

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
    if tf.shape(validation[0])[0] == 0:
        raise UserError("the validation batch is empty; the meta-gradient is the gradient of the loss on it")
    take = find_method(method)
    losses = per_sample_loss(default_loss(task) if loss is None else loss)
    wrapped = Task(with_features(task, feature_layer), losses)
    images, labels, embedding = batch
    forward = training_forward(wrapped, images, labels)

    def weights():
        raw = tf.cast(policy(forward.features, embedding), forward.losses.dtype)
        return sample_weights(raw, normalise_weights)

    return take(wrapped, forward, weights, policy.trainable_variables, validation, learning_rate).gradients
