"""The training step of method.md on one batch: steps 2 to 5, with the policy's update where its turn has come."""

import functools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

from metaaug_tf.augmentation.batch import KEYS
from metaaug_tf.augmentation.transform import transformation_embedding
from metaaug_tf.errors import UserError
from metaaug_tf.meta import replicas
from metaaug_tf.meta.choices import MetaSettings
from metaaug_tf.meta.evidence import Collected, Evidence
from metaaug_tf.meta.forward import Forward, FunctionalTask, training_forward
from metaaug_tf.meta.gradient import GradientMethod, MetaGradient, find_method
from metaaug_tf.meta.health import PolicyHealth
from metaaug_tf.meta.losses import LossLike
from metaaug_tf.meta.weights import Weighting, find_weighting, normalised_weights, policy_weights, raw_weights
from metaaug_tf.policy.memory import UNKNOWN, SampleMemory
from metaaug_tf.policy.sampler import PairSampler


class TrainingBatch(NamedTuple):
    """One batch of the training dataset; step 1 of method.md, the draw, was made for it.

    Attributes:
        images: [B, H, W, C], augmented.
        pairs: int32 [B, 2], the operations drawn.
        magnitudes: float32 [B, 2].
        validation_images: [M, H, W, C].
        validation_labels: whatever the loss takes, first axis M.
        labels: whatever the loss takes, first axis B.
        sample_weight: float [B] or None, factors on the losses that the user gave.
        indices: int32 [B], of the images in the training set; None where they have none.
    """

    images: tf.Tensor
    pairs: tf.Tensor
    magnitudes: tf.Tensor
    validation_images: tf.Tensor
    validation_labels: tf.Tensor
    labels: tf.Tensor
    sample_weight: tf.Tensor | None
    indices: tf.Tensor | None = None

    @classmethod
    def from_data(cls, data: tuple[Any, ...]) -> "TrainingBatch":
        """Unpacks (inputs, labels) or (inputs, labels, sample_weight), as fit gives it.

        Raises:
            UserError: the inputs are no dict of what a step needs.
        """
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not isinstance(inputs, Mapping) or not set(inputs) >= set(KEYS):
            raise UserError(
                f"inputs of a training step must be a dict of {', '.join(sorted(KEYS))}, as ma.training_dataset and "
                f"ma.training_batches yield it, got {type(inputs).__name__}; train on their batches"
            )
        given = {name: inputs[name] for name in KEYS}
        return cls(**given, labels=labels, sample_weight=sample_weight, indices=inputs.get("indices"))

    def known_indices(self) -> tf.Tensor:
        """Returns the images' indices in the training set, int32 [B]; UNKNOWN where they have none."""
        if self.indices is None:
            return tf.fill(tf.shape(self.pairs)[:1], UNKNOWN)
        return tf.cast(self.indices, tf.int32)

    def embedding(self) -> tf.Tensor:
        """Returns what the policy network sees of the transformations, float32 [B, 28]."""
        return transformation_embedding(self.pairs, self.magnitudes)


class StepResult(NamedTuple):
    """What a step has to report.

    Attributes:
        loss: float scalar, sum_i p_i l_i(w) over the global batch, before the update, and the network's own losses.
        losses: float [B], l_i(w) of this replica's images.
        predictions: float [B, classes], of the same pass.
    """

    loss: tf.Tensor
    losses: tf.Tensor
    predictions: tf.Tensor


@dataclass(frozen=True, eq=False)
class MetaStep:
    """A training step, given the networks and all that updates them.

    Under a tf.distribute strategy its methods are run by every replica, on its shard of the batch.

    Attributes:
        task: the task network with its loss.
        task_optimizer: built on the task network's trainable variables.
        policy_network: (features [B, F], embedding [B, 28]) -> raw weights [B], or None: all images count the same.
        policy_optimizer: built on the policy network's trainable variables.
        sampler: takes in which pair got which raw weight, by the transformation's part alone.
        health: takes in raw weights and meta-gradients.
        method: how the meta-gradient is taken.
        weighting: what becomes of the learned weights in the real update.
        normalise_weights: whether they sum to 1 over the batch.
        meta_every: the policy is updated in every meta_every-th step.
        policy_warmup_steps: number of first steps without an update of the policy.
        inner_learning_rate: alpha of the virtual update; None: the task optimizer's present rate. The virtual update
            is by this batch alone, also where the optimizer accumulates gradients.
        evidence: what the policy network sees besides; None where it takes none.
    """

    task: FunctionalTask
    task_optimizer: keras.optimizers.Optimizer
    policy_network: keras.Model | None
    policy_optimizer: keras.optimizers.Optimizer
    sampler: PairSampler
    health: PolicyHealth
    method: GradientMethod
    weighting: Weighting
    normalise_weights: bool = True
    meta_every: int = 1
    policy_warmup_steps: int = 0
    inner_learning_rate: float | None = None
    evidence: Evidence | None = None

    @property
    def all_alike(self) -> bool:
        """Whether no step differs from another: each updates the policy, or there is none."""
        return self.policy_network is None or (self.meta_every == 1 and self.policy_warmup_steps == 0)

    def policy_turn(self) -> tf.Tensor:
        """Returns 1 where the next step is to update the policy, else 0: int32 scalar."""
        step = steps_taken(self.task_optimizer) - self.policy_warmup_steps
        return tf.cast((step >= 0) & tf.equal(step % self.meta_every, 0), tf.int32)

    def take(self, batch: TrainingBatch, update_policy: bool) -> StepResult:
        """Takes one step (method.md, steps 2 to 5).

        Args:
            batch: this replica's.
            update_policy: whether steps 3 and 4 are taken too, where there is a policy.

        Raises:
            UserError: the policy is to be updated and there are no validation images.
        """
        forward = training_forward(self.task, batch.images, batch.labels, batch.sample_weight)
        if self.policy_network is None:
            weights = tf.ones_like(forward.losses) / tf.cast(forward.shard.total, forward.losses.dtype)
        else:
            found = self._collected(forward, batch)
            if update_policy:
                self._update_policy(self.policy_network, forward, batch, found)
            weights = self._learned_weights(self.policy_network, forward, batch, found)
        return self._update_task(forward, weights)

    def policy_gradients(self, batch: TrainingBatch, method: GradientMethod) -> list[tf.Tensor]:
        """Returns the meta-gradient on one batch, one tensor per policy variable; changes nothing.

        Args:
            batch: this replica's.
            method: how it is taken, whatever the step's own way is.
        """
        forward = training_forward(self.task, batch.images, batch.labels, batch.sample_weight)
        found = self._collected(forward, batch)
        return self._meta_gradient(self.policy_network, forward, batch, found, method).gradients

    def _collected(self, forward: Forward, batch: TrainingBatch) -> Collected | None:
        return None if self.evidence is None else self.evidence.collect(forward, batch.known_indices())

    def _meta_gradient(
        self,
        policy: keras.Model,
        forward: Forward,
        batch: TrainingBatch,
        found: Collected | None,
        method: GradientMethod,
    ) -> MetaGradient:
        """Takes step 3 of method.md and the gradient of step 4."""
        if batch.validation_images.shape[0] == 0 and replicas.count() == 1:
            raise UserError("the validation batch is empty; the policy learns from the loss on it")
        evidence = found.evidence if found else None
        weights = functools.partial(
            policy_weights, policy, forward, batch.embedding(), self.normalise_weights, evidence
        )
        validation = (batch.validation_images, batch.validation_labels)
        learning_rate = self.inner_learning_rate
        if learning_rate is None:
            learning_rate = self.task_optimizer.learning_rate
        return method(forward, weights, policy.trainable_variables, validation, learning_rate)

    def _update_policy(
        self, policy: keras.Model, forward: Forward, batch: TrainingBatch, found: Collected | None
    ) -> None:
        """Takes steps 3 and 4 of method.md."""
        result = self._meta_gradient(policy, forward, batch, found, self.method)
        with _after(forward):
            replicas.apply_gradients(self.policy_optimizer, result.gradients, policy.trainable_variables)
            self.health.observe_gradient(result.validation_loss, result.gradients)

    def _learned_weights(
        self, policy: keras.Model, forward: Forward, batch: TrainingBatch, found: Collected | None
    ) -> tf.Tensor:
        """Returns the weights [B] of the present policy; sampler, health and memory take in what they need."""
        own = [batch.pairs, raw_weights(policy, forward, batch.embedding())]
        if found:
            own += [raw_weights(policy, forward, batch.embedding(), found.evidence), found.margins, found.indices]
        pairs, of_transformation, *with_evidence = forward.shard.gather(own)
        raw = with_evidence[0] if with_evidence else of_transformation
        with _after(forward):
            self.health.observe_weights(raw)
            self.sampler.observe(pairs, of_transformation)
            if self.evidence and self.evidence.memory and with_evidence:
                _, margins, indices = with_evidence
                self.evidence.memory.observe(indices, margins)
        weights = normalised_weights(raw, self.normalise_weights)
        weights = self.weighting(weights, steps_taken(self.task_optimizer))
        return forward.shard.own(weights)

    def _update_task(self, forward: Forward, weights: tf.Tensor) -> StepResult:
        """Takes step 5 of method.md with this replica's weights [B]."""
        loss = tf.reduce_sum(weights * forward.losses)
        if forward.regularisation is not None:
            loss += forward.shard.part(tf.cast(forward.regularisation, loss.dtype))
        *gradients, loss = replicas.total([*forward.regularised_gradient(weights), loss])
        with _after(forward):
            replicas.apply_gradients(self.task_optimizer, gradients, self.task.network.trainable_variables)
            forward.keep_state()
        return StepResult(loss, forward.losses, forward.predictions)


class Parts(Protocol):
    """What a MetaAugment model is made of; see there."""

    optimizer: keras.optimizers.Optimizer
    policy_optimizer: keras.optimizers.Optimizer
    policy_network: keras.Model | None
    sampler: PairSampler
    memory: SampleMemory | None


def make_step(
    parts: Parts, task: FunctionalTask, loss: LossLike, settings: MetaSettings, health: PolicyHealth
) -> MetaStep:
    """Returns the training step.

    Args:
        parts: optimizers, built; policy network, sampler and memory.
        task: the task network with its loss per sample.
        loss: as given to compile().
        settings: of the method.
        health: takes in raw weights and meta-gradients.

    Raises:
        UserError: an unknown method, weighting or piece of evidence.
    """
    evidence = tuple(getattr(parts.policy_network, "evidence", ()))
    return MetaStep(
        task=task,
        task_optimizer=parts.optimizer,
        policy_network=parts.policy_network,
        policy_optimizer=parts.policy_optimizer,
        sampler=parts.sampler,
        health=health,
        method=find_method(settings.meta_gradient),
        weighting=find_weighting(settings.weighting),
        normalise_weights=settings.normalise_weights,
        meta_every=settings.meta_every,
        policy_warmup_steps=settings.policy_warmup_steps,
        inner_learning_rate=settings.inner_learning_rate,
        evidence=Evidence(evidence, loss, parts.memory) if evidence else None,
    )


def steps_taken(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """Returns the number of batches that an optimizer was applied to, int64 scalar.

    With gradient_accumulation_steps, Keras's `iterations` counts updates of the variables, one for several batches.
    """
    if not optimizer.gradient_accumulation_steps:
        return optimizer.iterations.value
    return next(variable.value for variable in optimizer.variables if variable.name == "iteration")


def _after(forward: Forward) -> AbstractContextManager[None]:
    """Returns a context in which nothing changes before the pass was made.

    Where a dataset of unknown length ends, or input fails, the step is run without a batch: then nothing may change,
    not even the counts and seeds, which do not depend on it.
    """
    return tf.control_dependencies([forward.losses])
