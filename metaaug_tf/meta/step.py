"""The training step of method.md: virtual update, policy update when its turn has come, real update."""

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from metaaug_tf.augmentation.transform import transformation_embedding
from metaaug_tf.errors import UserError
from metaaug_tf.meta import replicas
from metaaug_tf.meta.forward import Forward, training_forward
from metaaug_tf.meta.gradient import MetaGradient
from metaaug_tf.meta.weights import normalised_weights, policy_weights, raw_weights


class MetaStep(keras.Model):
    """The part of MetaAugment (meta/model.py, which has the attributes used here) that is run for every batch."""

    def train_step(self, data):
        """One step of method.md: virtual update, policy update when its turn has come, real update.

        Raises:
            UserError: not every step updates the policy and the step is one of several replicas'.
        """
        kinds = self._kinds_of_step()
        if len(kinds) == 1:
            return kinds[0](data)
        if replicas.count() > 1:
            raise UserError(
                f"meta_every={self._meta_every}, policy_warmup_steps={self._policy_warmup_steps}: within strategy.run "
                "a step can't branch, since replicas synchronise in it; call fit, or model.make_train_function() "
                "with an iterator of the distributed dataset"
            )
        return tf.switch_case(self._turn(), [functools.partial(kind, data) for kind in kinds])

    def _kinds_of_step(self) -> Sequence[Callable]:
        """Steps without and with an update of the policy; only one where all are alike."""
        every_step_alike = self.policy_network is None or (self._meta_every == 1 and not self._policy_warmup_steps)
        return [functools.partial(self._step, update_policy=update) for update in (False, True)][every_step_alike:]

    def _turn(self) -> tf.Tensor:
        """1 where the next step is to update the policy, else 0: int32 scalar."""
        step = self.optimizer.iterations.value - self._policy_warmup_steps
        return tf.cast((step >= 0) & tf.equal(step % self._meta_every, 0), tf.int32)

    def _step(self, data, update_policy: bool):
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        forward = training_forward(self._task, inputs["images"], labels, sample_weight)
        if self.policy_network is None:
            weights = tf.ones_like(forward.losses) / tf.cast(forward.shard.total, forward.losses.dtype)
        else:
            if update_policy:
                self._update_policy(forward, inputs)
            weights = self._learned_weights(forward, inputs)
        loss = tf.reduce_sum(weights * forward.losses)
        *gradients, loss = replicas.total([*forward.regularised_gradient(weights), loss])
        with keras.StatelessScope():  # builds the metrics where they are not yet, outside of what follows
            self.compute_metrics(None, labels, forward.predictions, sample_weight)
        # Where a dataset of unknown length ends, or input fails, the step is run without a batch: then nothing may
        # change, not even the counts and seeds, which do not depend on it.
        with tf.control_dependencies([forward.losses]):
            replicas.apply_gradients(self.optimizer, gradients, self.task.trainable_variables)
            forward.keep_state()
            self._loss_tracker.update_state(loss)
            return self.compute_metrics(None, labels, forward.predictions, sample_weight)

    def policy_gradients(self, data, method) -> list[tf.Tensor]:
        """The meta-gradient on one batch of the training dataset, by policy variable; changes nothing.

        Args:
            data: as train_step takes it.
            method: a meta.gradient.GradientMethod.
        """
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        forward = training_forward(self._task, inputs["images"], labels, sample_weight)
        return self._meta_gradient(forward, inputs, method).gradients

    def _learned_weights(self, forward: Forward, inputs) -> tf.Tensor:
        """The weights [B] of the present policy, which health metrics and sampler take note of."""
        raw, pairs = forward.shard.gather(
            [raw_weights(self.policy_network, forward, _embedding(inputs)), inputs["pairs"]]
        )
        with tf.control_dependencies([forward.losses]):
            self._health.observe_weights(raw)
            self.sampler.observe(pairs, raw)
        weights = self._weighting(normalised_weights(raw, self._normalise), self.optimizer.iterations.value)
        return forward.shard.own(weights)

    def _update_policy(self, forward: Forward, inputs) -> None:
        result = self._meta_gradient(forward, inputs, self._method)
        with tf.control_dependencies([forward.losses]):
            replicas.apply_gradients(self.policy_optimizer, result.gradients, self.policy_network.trainable_variables)
            self._health.observe_gradient(result.validation_loss, result.gradients)

    def _meta_gradient(self, forward: Forward, inputs, method) -> MetaGradient:
        validation = (inputs["validation_images"], inputs["validation_labels"])
        if validation[0].shape[0] == 0 and replicas.count() == 1:
            raise UserError("the validation batch is empty; the policy learns from the loss on it")
        learning_rate = self.optimizer.learning_rate if self._inner_learning_rate is None else self._inner_learning_rate

        weights = functools.partial(
            policy_weights, self.policy_network, forward, _embedding(inputs), normalise=self._normalise
        )

        return method(forward, weights, self.policy_network.trainable_variables, validation, learning_rate)


def _embedding(inputs) -> tf.Tensor:
    return transformation_embedding(inputs["pairs"], inputs["magnitudes"])
