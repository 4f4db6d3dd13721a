"""Per-sample losses: what a weight can be applied to. Their mean over a batch is the loss that plain Keras reports."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta import replicas

# What compile() takes as loss; a keras.losses.Loss is a callable too.
LossLike = Callable | str | None

# Names that Keras resolves from the shapes of labels and predictions.
_BY_SHAPE = "crossentropy", "ce"


class PerSampleLoss(Protocol):
    """(labels [B, ...], predictions [B, ...], factors on the losses that the user gave or None) -> float [B]."""

    def __call__(
        self, labels: tf.Tensor, predictions: tf.Tensor, sample_weight: tf.Tensor | None = None, /
    ) -> tf.Tensor:
        """Returns one loss per sample."""


def per_sample_loss(loss: LossLike, factor: float = 1.0) -> PerSampleLoss:
    """Turns a Keras loss into one value per sample, whose mean over the batch is what Keras's reduction gives.

    With "sum", values are times the batch size B; with "mean_with_sample_weight", sample weights are divided by their
    mean. Labels and predictions are cast and matched in rank by Keras. float64 predictions keep their precision.

    Args:
        loss: a keras.losses.Loss, a function or a name that keras.Model.compile knows.
        factor: Keras's loss_weights, of the only output.

    Raises:
        UserError: nothing, or several losses, were given, or one with the reduction None; when called: the loss does
            not return one value per sample.
    """
    if loss is None or isinstance(loss, (list, tuple, dict)):
        raise UserError(f"loss must be one loss, got {loss!r}; MetaAugment weights one loss per image")
    if not _is_by_shape(loss) and _as_object(keras.losses.get(loss)).reduction in (None, "none"):
        raise UserError(
            f"the reduction of the loss {loss!r} must be sum_over_batch_size, mean, sum or mean_with_sample_weight, "
            "got None, with which Keras reports the mean and follows the sum; leave it out for the mean"
        )

    def loss_of(labels: tf.Tensor, predictions: tf.Tensor, sample_weight: tf.Tensor | None = None, /) -> tf.Tensor:
        chosen = resolve_loss(loss, labels, predictions)
        values = _Unreduced(chosen, predictions.dtype)(labels, predictions)
        if values.shape.rank == 0 or not values.shape[:1].is_compatible_with(predictions.shape[:1]):
            found = "one number for the whole batch" if values.shape.rank == 0 else f"shape {list(values.shape)}"
            raise UserError(
                f"the loss {loss!r} must return one value per sample, got {found}; use one like "
                "keras.losses.categorical_crossentropy, or any keras.losses.Loss"
            )
        values = _reduce_positions(values, sample_weight, chosen.reduction)
        return values if factor == 1 else values * tf.cast(factor, values.dtype)

    return loss_of


def _is_by_shape(loss: LossLike) -> bool:
    return isinstance(loss, str) and loss.lower() in _BY_SHAPE


def resolve_loss(loss: LossLike, labels: tf.Tensor, predictions: tf.Tensor) -> keras.losses.Loss:
    """Returns the loss that Keras takes for these labels and predictions; a plain function as its `function`."""
    if not _is_by_shape(loss):
        return _as_object(keras.losses.get(loss))
    width = predictions.shape[-1]
    if width == 1:
        return keras.losses.BinaryCrossentropy()
    if labels.shape.rank < predictions.shape.rank or labels.shape[-1] == 1:
        return keras.losses.SparseCategoricalCrossentropy()
    return keras.losses.CategoricalCrossentropy()


def _as_object(found: keras.losses.Loss | Callable) -> keras.losses.Loss:
    return found if isinstance(found, keras.losses.Loss) else _FunctionLoss(found)


class _FunctionLoss(keras.losses.Loss):
    """A plain function as a loss; as Keras does, adds or drops a last axis of length 1 where ranks differ by one."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def call(self, labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        return self.function(*_same_rank(labels, predictions))


def _same_rank(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    if len(a.shape) == len(b.shape) + 1 and a.shape[-1] == 1:
        return (a, keras.ops.expand_dims(b, -1)) if len(b.shape) == 1 else (keras.ops.squeeze(a, -1), b)
    if len(b.shape) == len(a.shape) + 1 and b.shape[-1] == 1:
        return (keras.ops.expand_dims(a, -1), b) if len(a.shape) == 1 else (a, keras.ops.squeeze(b, -1))
    return a, b


class _Unreduced(keras.losses.Loss):
    """A loss without its reduction: called as Keras calls it, returns a value per sample (and position)."""

    def __init__(self, loss: keras.losses.Loss, dtype: tf.DType) -> None:
        super().__init__("loss", reduction=None, dtype="float64" if dtype == tf.float64 else loss.dtype)
        self.loss = loss

    def call(self, labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        values = tf.convert_to_tensor(found := self.loss.call(labels, predictions))
        # Set by ignore_class: which values count. Keras's guide on masking documents the attribute.
        mask = getattr(found, "_keras_mask", None)
        if mask is None:
            return values
        if self.loss.reduction == "mean_with_sample_weight":
            raise UserError(
                f"the loss {self.loss.name} has a mask (ignore_class), which the reduction mean_with_sample_weight "
                "does not go with; leave out one of the two"
            )
        mask = tf.cast(mask, values.dtype)
        if self.loss.reduction != "sum":  # the mean is over the values that count
            mask *= tf.math.divide_no_nan(tf.cast(tf.size(mask), mask.dtype), tf.reduce_sum(mask))
        return tf.identity(values) * mask


def _reduce_positions(values: tf.Tensor, sample_weight: tf.Tensor | None, reduction: str) -> tf.Tensor:
    """Returns float [B] from values [B, ...] and weights of as many axes or fewer."""
    if sample_weight is not None:
        weight = tf.cast(sample_weight, values.dtype)
        if weight.shape.rank == values.shape.rank + 1:
            weight = tf.squeeze(weight, -1)
        for _ in range(values.shape.rank - weight.shape.rank):
            weight = weight[..., tf.newaxis]
        if reduction == "mean_with_sample_weight":
            mean = tf.reduce_mean(tf.broadcast_to(weight, tf.shape(values)))
            weight = tf.math.divide_no_nan(weight, mean)
        values *= weight
    axes = list(range(1, values.shape.rank))
    if reduction == "sum":
        size = replicas.shard(tf.shape(values)[0]).total
        return tf.reduce_sum(values, axes) * tf.cast(size, values.dtype)
    return tf.reduce_mean(values, axes)


def output_factor(loss_weights: Any) -> float:
    """Returns the number in Keras's loss_weights for a model with one output; 1 for None.

    Raises:
        UserError: anything but a float, or a list or dict of one number.
    """
    value = loss_weights
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = float(value[0])
    if value is None:
        return 1.0
    if not isinstance(value, float) or not math.isfinite(value):
        raise UserError(f"loss_weights must be one float, the factor on the only output's loss, got {loss_weights!r}")
    return value


def check_loss(loss: LossLike, loss_of: PerSampleLoss, predictions: keras.KerasTensor, factor: float = 1.0) -> None:
    """Compares a loss with Keras's own on made-up examples, before training, for every form of labels that it takes.

    Args:
        loss: as given to compile().
        loss_of: per_sample_loss(loss, factor).
        predictions: the task's output, [B, ...]; unknown sizes count as 2.
        factor: as in per_sample_loss.

    Raises:
        UserError: the values per sample do not have Keras's loss as their mean, depend on other samples, or are no
            values per sample. A loss that takes labels of no form tried is left to the first step.
    """
    if getattr(predictions, "_keras_mask", None) is not None:
        raise UserError(
            "the task's output must not carry a mask, since its loss is of whole images; end the mask within the "
            "network, e.g. by pooling before the last Dense layer"
        )
    made_up, labels_of_each_form = _made_up_examples(predictions.shape[1:], tf.as_dtype(predictions.dtype))
    # The first sample's prediction stays, the others change.
    others = tf.concat([made_up[:1], made_up[1:, ..., ::-1] ** 2], 0)
    own, weighted, unequal, difference = [], [], False, ""
    with warnings.catch_warnings(action="ignore"):
        for labels, weight in itertools.product(labels_of_each_form, (None, tf.range(1.0, len(made_up) + 1))):
            wanted = _keras_value(loss, labels, made_up, weight)
            if wanted is None:
                continue
            values = loss_of(labels, made_up, weight)
            same = _close(found := tf.reduce_mean(values), wanted * factor)
            if weight is not None:
                weighted.append(same)
            else:
                own.append(_close(values[0], loss_of(labels, others)[0]))
            if not same:
                difference = f"{wanted * factor:.6g}, the mean of what its call() returns is {float(found):.6g}"
                unequal = unequal or weight is None
    if unequal or (weighted and not any(weighted)):
        raise UserError(
            f"the loss {loss!r} must be the mean of its values per sample: Keras's own value on an example is "
            f"{difference}; compute values in call(), [B] or [B, ...], and leave the reduction to keras.losses.Loss"
        )
    # Keras broadcasts labels or weights of some forms over the batch: it is enough that it does not for one form.
    if own and not any(own):
        raise UserError(
            f"the loss {loss!r} must give each sample a loss of its own, but it changes with the other predictions in "
            "the batch, so that a weight per image has no meaning; use a loss like "
            "keras.losses.categorical_crossentropy"
        )


def _made_up_examples(shape: tuple[int | None, ...], dtype: tf.DType) -> tuple[tf.Tensor, Iterator[tf.Tensor]]:
    """Returns predictions [B, ...], good as logits and as probabilities, and their labels in every usual form."""
    sizes = [size or 2 for size in shape]
    count = next(size for size in range(3, 9) if size not in sizes)  # so that no other axis passes for the batch
    sizes, width = [count, *sizes], sizes[-1]
    values = 1.2 + np.sin(np.arange(math.prod(sizes)) * 1.7).reshape(sizes)
    values /= np.sum(values, -1, keepdims=True) if width > 1 else 3
    classes = np.arange(math.prod(sizes[:-1])).reshape(sizes[:-1]) % max(width, 2)
    # Not np.eye(width)[classes], which takes width**2 numbers.
    one_hot = (classes[..., None] == np.arange(width)).astype(float) if width > 1 else classes[..., None]
    forms = (classes, classes[..., None], one_hot)
    return tf.constant(values, dtype), (tf.constant(form, kind) for form in forms for kind in (tf.int32, tf.float32))


def _keras_value(loss: LossLike, labels: tf.Tensor, predictions: tf.Tensor, weight: tf.Tensor | None) -> float | None:
    """Returns the loss that Keras reports, or None where it does not take such labels."""
    chosen = resolve_loss(loss, labels, predictions)
    try:
        value = float(chosen(labels, predictions, sample_weight=weight))
    except Exception:  # whatever a loss of the user's own raises on labels of another form
        return None
    # Within a strategy's scope Keras divides means by the number of replicas.
    return value if chosen.reduction == "sum" else value * tf.distribute.get_strategy().num_replicas_in_sync


def _close(found: tf.Tensor, wanted: tf.Tensor | float) -> bool:
    return bool(np.isclose(found, wanted, rtol=1e-3, atol=1e-5, equal_nan=True))


def default_loss(task: keras.Model) -> keras.losses.Loss:
    """Returns sparse categorical cross-entropy, from logits unless the task ends in a softmax."""
    activation = getattr(task.outputs[0]._keras_history.operation, "activation", None)
    probabilities = activation is keras.activations.softmax or isinstance(task.layers[-1], keras.layers.Softmax)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities)


def complete_class_weight(class_weight: Mapping[int, float] | None, classes: int) -> dict[int, float] | None:
    """Returns fit's class_weight with 1 for every class not named, which Keras drops beyond the last one named.

    Args:
        class_weight: as in fit.
        classes: width of the task's output; 1 stands for two classes.

    Raises:
        UserError: a key that is no class.
    """
    if class_weight is None:
        return None
    classes = max(classes, 2)
    if unknown := sorted(set(class_weight) - set(range(classes))):
        raise UserError(f"class_weight must have keys from 0 to {classes - 1}, the classes, got {unknown[0]}")
    return {index: float(class_weight.get(index, 1.0)) for index in range(classes)}


@keras.saving.register_keras_serializable("metaaug_tf")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of integer labels from logits, with label smoothing (Szegedy et al., arXiv 1512.00567, section 7).

    The label's class has the probability 1 - smoothing + smoothing / C, the others smoothing / C.
    """

    def __init__(self, smoothing: float = 0.0, name: str = "smoothed_cross_entropy"):
        """Creates the loss; `smoothing` is in [0, 1)."""
        super().__init__(name=name)
        self.smoothing = smoothing

    def call(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns losses float [B] of labels int [B] (or [B, 1]) and logits [B, C]."""
        own = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        if not self.smoothing:
            return own
        others = -keras.ops.mean(keras.ops.log_softmax(logits, axis=-1), axis=-1)
        return (1 - self.smoothing) * own + self.smoothing * others

    def get_config(self) -> dict[str, Any]:
        """Returns what __init__ takes."""
        return {"smoothing": self.smoothing, "name": self.name}
