"""The 14 x 14 distribution from which pairs of operations are drawn."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.ops.table import OPERATIONS
from metaaug_tf.policy.choices import IDENTITY_ODDS

PAIR_SHAPE = (len(OPERATIONS), len(OPERATIONS))


def initial_probabilities(identity_odds: float = 1.0) -> np.ndarray:
    """Returns the initial distribution: what pairs are drawn from before anything is learned.

    Args:
        identity_odds: 0.01 to 100, how often an operation of the pair is Identity relative to each of the 13 others.
            With 1 (the method) all pairs are alike; with 13 each of the two is Identity half of the time, so that an
            image gets one operation on average.

    Returns:
        float64 [14, 14] that sums to 1, rows the first operation.

    Raises:
        UserError: identity_odds out of its range.
    """
    least, most = IDENTITY_ODDS
    if not least <= identity_odds <= most:
        raise UserError(f"identity_odds must be from {least:g} to {most:g}, got {identity_odds}")
    odds = np.where(np.array(OPERATIONS) == "Identity", identity_odds, 1.0)
    return np.outer(odds, odds) / odds.sum() ** 2


def pair_probabilities(
    sums: np.ndarray, counts: np.ndarray, epsilon: float, initial: np.ndarray | None = None
) -> np.ndarray:
    """Returns the sampler's probabilities from the raw weights seen (method.md, "Sampler").

    Args:
        sums: float [14, 14], sum of the raw weights of each pair over the epochs kept.
        counts: float [14, 14], how often each pair was drawn in them; a pair not seen has mean weight 1.
        epsilon: in [0, 1], the fraction that stays as it was initially.
        initial: float64 [14, 14] of `initial_probabilities`, by default uniform; the mean weights act on it as factors.

    Returns:
        float64 [14, 14] that sums to 1, rows the first operation.
    """
    seen = counts > 0
    means = np.where(seen, sums / np.where(seen, counts, 1), 1.0)
    initial = initial_probabilities() if initial is None else initial
    # Divided by its largest entry, a uniform distribution is exactly 1: the mean weights then stay as they are.
    factors = means * (initial / initial.max())
    # All means may have fallen to zero; then nothing is known to be better than anything else.
    learned = factors / factors.sum() if factors.sum() > 0 else initial
    return (1 - epsilon) * learned + epsilon * initial


@keras.saving.register_keras_serializable("metaaug_tf")
class PairSampler(keras.layers.Layer):
    """The distribution of pairs, the weights that it was made from, and the epoch that it stands for.

    All state is in Keras variables, so it is saved with the model and can be read inside tf.data. `epoch` is the clock
    of the run: it seeds every random choice of the input, also where nothing is learned.

    Attributes:
        probabilities: float32 [14, 14], rows the first operation.
        epoch: int64 scalar, the epoch whose images are drawn.
        weight_sums: float32 [history_epochs, 14, 14], sums of the raw weights of each pair; row 0 is the epoch under
            way, the oldest is last.
        counts: float32 [history_epochs, 14, 14], how often each pair was drawn in them.
        initial: float64 [14, 14], the initial distribution.
    """

    def __init__(
        self, history_epochs: int = 5, epsilon: float = 0.1, identity_odds: float = 1.0, **kwargs: Any
    ) -> None:
        """Creates a sampler that has learned nothing, at epoch 0.

        Args:
            history_epochs: number of last epochs that the mean weights are taken over (s of the method), at least 1.
            epsilon: in [0, 1], the fraction of the initial distribution in each later one.
            identity_odds: 0.01 to 100, see `initial_probabilities`; the policy network's contrast head takes the same.
            **kwargs: keras.layers.Layer's.

        Raises:
            UserError: a value out of its range.
        """
        if history_epochs < 1 or not 0 <= epsilon <= 1:
            raise UserError(
                f"the sampler needs history_epochs >= 1 and epsilon in [0, 1], got {history_epochs} and {epsilon}"
            )
        kwargs.setdefault("name", "sampler")
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.history_epochs, self.epsilon, self.identity_odds = history_epochs, epsilon, identity_odds
        self.initial = initial_probabilities(identity_odds)
        self.probabilities = self._zeros("probabilities", PAIR_SHAPE)
        self.probabilities.assign(self.initial)
        self.epoch = self.add_weight((), "zeros", dtype="int64", name="epoch", trainable=False)
        self.weight_sums = self._zeros("weight_sums", (history_epochs, *PAIR_SHAPE))
        self.counts = self._zeros("counts", (history_epochs, *PAIR_SHAPE))
        self.built = True

    def _zeros(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        return self.add_weight(shape, "zeros", name=name, trainable=False)

    def observe(self, pairs: tf.Tensor, raw_weights: tf.Tensor) -> None:
        """Adds one batch to the epoch under way; runs inside the training step.

        Args:
            pairs: int [B, 2], the operations drawn.
            raw_weights: float [B], what the policy network gave; on several replicas, of the global batch.
        """
        raw_weights = tf.cast(raw_weights, self.weight_sums.dtype)
        first, second = (tf.one_hot(pairs[:, i], PAIR_SHAPE[0]) for i in (0, 1))
        for table, values in ((self.weight_sums, raw_weights), (self.counts, tf.ones_like(raw_weights))):
            batch = tf.einsum("b,bi,bj->ij", values, first, second)
            padding = tf.zeros((self.history_epochs - 1, *PAIR_SHAPE))
            table.assign_add(tf.concat([batch[None], padding], axis=0))

    def end_epoch(self) -> None:
        """Recomputes the probabilities from the epochs kept, drops the oldest and turns to the next epoch."""
        sums, counts = self.weight_sums.numpy(), self.counts.numpy()
        table = pair_probabilities(sums.sum(axis=0), counts.sum(axis=0), self.epsilon, self.initial)
        self.probabilities.assign(table)
        for variable, value in ((self.weight_sums, sums), (self.counts, counts)):
            variable.assign(np.concatenate([np.zeros_like(value[:1]), value[:-1]]))
        self.epoch.assign_add(1)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings from which an untrained sampler can be made again."""
        return {
            "name": self.name,
            "history_epochs": self.history_epochs,
            "epsilon": self.epsilon,
            "identity_odds": self.identity_odds,
        }


class SamplerUpdate(keras.callbacks.Callback):
    """Calls `model.sampler.end_epoch()`; MetaAugment.fit adds it where it is not given.

    Example:
        import keras, numpy as np
        import metaaug_tf as ma

        random = np.random.default_rng(0)
        images, labels = random.integers(0, 256, (32, 8, 8, 3), dtype=np.uint8), np.arange(32, dtype=np.int32) % 2
        task = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        model = ma.MetaAugment(task)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss=loss, jit_compile=False)
        examples = ma.Examples(images, labels)
        dataset = ma.training_dataset(examples, examples, model.sampler, batch_size=16)
        model.fit(dataset, epochs=1, verbose=0, callbacks=[ma.SamplerUpdate()])
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Updates probabilities and turns to the next epoch."""
        self.model.sampler.end_epoch()


def with_sampler_update(callbacks: Any, model: keras.Model) -> Any:
    """Returns fit's callbacks with a SamplerUpdate before all others, where none is among them.

    Args:
        callbacks: as in keras.Model.fit: None, a callback, a list of them, or a CallbackList.
        model: what is fitted.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):  # fit uses it as it is, so it is changed in place
        if not _updates_sampler(callbacks.callbacks):
            update = SamplerUpdate()
            update.set_model(model)
            callbacks.callbacks.insert(0, update)
        return callbacks
    given = tf.nest.flatten(callbacks or [])
    return given if _updates_sampler(given) else [SamplerUpdate(), *given]


def _updates_sampler(callbacks: list[keras.callbacks.Callback]) -> bool:
    return any(isinstance(callback, SamplerUpdate) for callback in callbacks)
