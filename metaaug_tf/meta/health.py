"""What a run logs of the policy: the weights' range, their effective sample size, the norm of its gradient."""

import keras
import tensorflow as tf


class Extreme(keras.metrics.Metric):
    """Smallest or largest value seen since the last reset; replicas have to show it the same values."""

    def __init__(self, name: str, largest: bool) -> None:
        """Creates the metric; before the first update its result is infinite.

        Args:
            name: key in the logs.
            largest: keep the largest value, otherwise the smallest.
        """
        super().__init__(name=name, dtype="float32")
        self.largest = largest
        start = keras.initializers.Constant(self._start())
        self.extreme = self.add_variable((), start, aggregation="only_first_replica", name="extreme")

    def _start(self) -> float:
        return float("-inf") if self.largest else float("inf")

    def update_state(self, values: tf.Tensor) -> None:
        """Takes in values of any shape."""
        choose, reduce = (tf.maximum, tf.reduce_max) if self.largest else (tf.minimum, tf.reduce_min)
        self.extreme.assign(choose(self.extreme.value, tf.cast(reduce(values), tf.float32)))

    def result(self) -> tf.Tensor:
        """Returns the extreme value, a float32 scalar."""
        return tf.convert_to_tensor(self.extreme.value)

    def reset_state(self) -> None:
        """Forgets what was seen."""
        self.extreme.assign(self._start())


class SeenMean(keras.metrics.Mean):
    """A mean that is NaN, not 0, where nothing was seen: an epoch may pass without an update of the policy."""

    def result(self) -> tf.Tensor:
        """Returns the mean, a float32 scalar."""
        return tf.where(self.count.value > 0, super().result(), float("nan"))


def effective_sample_fraction(weights: tf.Tensor) -> tf.Tensor:
    """Returns the effective sample size (Kish) of weights [B] over B: 1 for equal weights, 1 / B for a single one."""
    size = tf.cast(tf.size(weights), weights.dtype)
    return tf.square(tf.reduce_sum(weights)) / (size * tf.reduce_sum(tf.square(weights)))


# What a run logs of its policy, in this order; effective_sample_size is a fraction of the batch.
HEALTH_METRICS = (
    "meta_loss",
    "weight_mean",
    "weight_min",
    "weight_max",
    "effective_sample_size",
    "policy_gradient_norm",
)


class PolicyHealth:
    """The policy's metrics of one epoch: `metrics` is the list that the model reports, named as HEALTH_METRICS says."""

    def __init__(self) -> None:
        """Creates the metrics at zero."""
        meta_loss, mean, smallest, largest, effective, gradient_norm = HEALTH_METRICS
        self.meta_loss = SeenMean(meta_loss)
        self.mean = keras.metrics.Mean(mean)
        self.smallest = Extreme(smallest, largest=False)
        self.largest = Extreme(largest, largest=True)
        self.effective = keras.metrics.Mean(effective)
        self.gradient_norm = SeenMean(gradient_norm)
        self.metrics = [
            self.meta_loss,
            self.mean,
            self.smallest,
            self.largest,
            self.effective,
            self.gradient_norm,
        ]

    def observe_weights(self, raw_weights: tf.Tensor) -> None:
        """Takes in the raw weights [B] that a step trained with, of the global batch."""
        self.mean.update_state(raw_weights)
        self.smallest.update_state(raw_weights)
        self.largest.update_state(raw_weights)
        self.effective.update_state(effective_sample_fraction(raw_weights))

    def observe_gradient(self, validation_loss: tf.Tensor, gradients: list[tf.Tensor]) -> None:
        """Takes in one meta-gradient and the validation loss it was taken of."""
        self.meta_loss.update_state(validation_loss)
        self.gradient_norm.update_state(tf.linalg.global_norm(gradients))
