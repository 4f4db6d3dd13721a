"""What speaks for or against a training sample besides its augmented image: the rows of policy.choices.EVIDENCE.

Each piece of evidence is a number of the sample, without a gradient, that is 0 where there is nothing to say. What
follows from it is learned (PolicyNetwork).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

from metaaug_tf.meta.choices import chosen_function
from metaaug_tf.meta.forward import Forward
from metaaug_tf.meta.losses import LossLike, SmoothedCrossEntropy, resolve_loss
from metaaug_tf.policy.choices import EVIDENCE
from metaaug_tf.policy.memory import SampleMemory

_WITH_CLASSES = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.CategoricalGeneralizedCrossEntropy,
    SmoothedCrossEntropy,
)
_FUNCTIONS_WITH_CLASSES = (
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.categorical_crossentropy,
    keras.losses.categorical_focal_crossentropy,
    keras.losses.categorical_generalized_cross_entropy,
)


class Sample(NamedTuple):
    """What is known of the samples of a batch.

    Attributes:
        margins: float32 [B], in [-1, 1], of the present visit.
        running_margins: float32 [B], the mean over visits; `margins` where nothing is remembered.
        labels: int32 [B], class indices; None where the loss is not of classes.
        memory: of the training set, or None.
    """

    margins: tf.Tensor
    running_margins: tf.Tensor
    labels: tf.Tensor | None
    memory: SampleMemory | None


def doubt(sample: Sample) -> tf.Tensor:
    """Returns by how much the classifier has favoured another class over the label, 0 to 1 [B]."""
    return tf.nn.relu(-sample.running_margins)


def doubt_now(sample: Sample) -> tf.Tensor:
    """Returns `doubt` of the present visit alone, [B]: also high where an augmentation has ruined an image."""
    return tf.nn.relu(-sample.margins)


def frequency(sample: Sample) -> tf.Tensor:
    """Returns how frequent the label's class is, [B]; see SampleMemory.frequencies."""
    if sample.memory is None or sample.labels is None:
        return tf.zeros_like(sample.margins)
    return sample.memory.frequencies(sample.labels)


class Collected(NamedTuple):
    """What was found of this replica's samples.

    Attributes:
        evidence: float32 [B, E], what the policy network sees.
        margins: float32 [B], of this visit, for the memory.
        indices: int32 [B], of the images in the training set, or memory.UNKNOWN.
    """

    evidence: tf.Tensor
    margins: tf.Tensor
    indices: tf.Tensor


@dataclass(frozen=True, eq=False)
class Evidence:
    """Collects the evidence of a batch.

    Attributes:
        names: rows of EVIDENCE, in the order of the policy network.
        loss: as given to compile().
        memory: of the training set, or None.
    """

    names: Sequence[str]
    loss: LossLike
    memory: SampleMemory | None

    def collect(self, forward: Forward, indices: tf.Tensor) -> Collected:
        """Returns the evidence of this replica's samples; changes nothing.

        Args:
            forward: the training pass.
            indices: int [B], of the images in the training set, or memory.UNKNOWN.
        """
        labels = class_labels(self.loss, forward.batch[1], forward.predictions)
        if labels is None:
            margins = _loss_margins(forward.losses)
        else:
            margins = class_margins(labels, class_probabilities(self.loss, forward.batch[1], forward.predictions))
        running = margins if self.memory is None else self.memory.recalled(indices, margins)
        sample = Sample(margins, running, labels, self.memory)
        rows: list[Callable[[Sample], tf.Tensor]] = [chosen_function("evidence", EVIDENCE, name) for name in self.names]
        return Collected(tf.stop_gradient(tf.stack([row(sample) for row in rows], axis=-1)), margins, indices)


def class_labels(loss: LossLike, labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor | None:
    """Returns the class indices int32 [B] that a loss compares predictions with, or None if it is not of classes.

    Args:
        loss: as given to compile().
        labels: whatever the loss takes: [B], [B, 1] or one-hot [B, C].
        predictions: [B, ...].
    """
    if predictions.shape.rank != 2 or predictions.shape[-1] == 1:
        return None
    found = resolve_loss(loss, labels, predictions)
    function = getattr(found, "function", None)
    if not isinstance(found, _WITH_CLASSES) and function not in _FUNCTIONS_WITH_CLASSES:
        return None
    if labels.shape.rank == 2 and labels.shape[-1] == predictions.shape[-1]:
        return tf.argmax(labels, axis=-1, output_type=tf.int32)
    return tf.cast(tf.reshape(labels, [-1]), tf.int32)


def class_probabilities(loss: LossLike, labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    """Returns the probabilities float32 [B, C] that a loss of classes sees in predictions [B, C]."""
    found = resolve_loss(loss, labels, predictions)
    of_logits = isinstance(found, SmoothedCrossEntropy) or getattr(found, "from_logits", False)
    predictions = tf.cast(tf.stop_gradient(predictions), tf.float32)
    return tf.nn.softmax(predictions) if of_logits else predictions


def class_margins(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Returns the probability of the label minus the largest of another class, float32 [B] in [-1, 1].

    Args:
        labels: int [B], class indices.
        probabilities: float32 [B, C].
    """
    one_hot = tf.one_hot(labels, tf.shape(probabilities)[1])
    of_label = tf.reduce_sum(probabilities * one_hot, axis=-1)
    return of_label - tf.reduce_max(probabilities * (1 - one_hot), axis=-1)


def _loss_margins(losses: tf.Tensor) -> tf.Tensor:
    """Returns what stands for margins where there are no classes: losses below the batch's mean, in 3 deviations."""
    losses = tf.cast(tf.stop_gradient(losses), tf.float32)
    deviation = tf.math.reduce_std(losses)
    return tf.clip_by_value(tf.math.divide_no_nan(tf.reduce_mean(losses) - losses, 3 * deviation), -1.0, 1.0)
