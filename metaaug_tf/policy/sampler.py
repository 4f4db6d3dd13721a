"""The 14 x 14 distribution from which pairs of operations are drawn."""

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.ops.table import OPERATIONS

PAIR_SHAPE = (len(OPERATIONS), len(OPERATIONS))


def starting_table(identity_odds: float = 1.0) -> np.ndarray:
    """What pairs are drawn from before anything is learned.

    Args:
        identity_odds: 0.01 to 100, how often an operation of the pair is Identity relative to each of the 13 others.
            With 1 (the method) all pairs are alike; with 13 each of the two is Identity half of the time, so that an
            image gets one operation on average.

    Returns:
        float64 [14, 14] that sums to 1, rows the first operation.

    Raises:
        UserError: identity_odds out of its range.
    """
    if not 0.01 <= identity_odds <= 100:
        raise UserError(f"identity_odds must be from 0.01 to 100, not {identity_odds}")
    odds = np.where(np.array(OPERATIONS) == "Identity", identity_odds, 1.0)
    return np.outer(odds, odds) / odds.sum() ** 2


def pair_probabilities(sums: np.ndarray, counts: np.ndarray, epsilon: float, start: np.ndarray | None = None):
    """Sampler probabilities from the raw weights seen (method.md, "Sampler").

    Args:
        sums: float [14, 14], sum of the raw weights of each pair over the epochs kept.
        counts: float [14, 14], how often each pair was drawn in them; a pair not seen has mean weight 1.
        epsilon: in [0, 1], the share that stays as at the start.
        start: float64 [14, 14] of `starting_table`, by default uniform; the mean weights act on it as factors.

    Returns:
        float64 [14, 14] that sums to 1, rows the first operation.
    """
    seen = counts > 0
    means = np.where(seen, sums / np.where(seen, counts, 1), 1.0)
    start = starting_table() if start is None else start
    # Divided by its largest entry a uniform start is exactly 1.
    factors = means * (start / start.max())
    # All means may have fallen to zero; then nothing is known to be better than anything else.
    share = factors / factors.sum() if factors.sum() > 0 else start
    return (1 - epsilon) * share + epsilon * start


@keras.saving.register_keras_serializable("metaaug_tf")
class PairSampler(keras.layers.Layer):
    """The sampler's table, what it was made from, and the number of the epoch it stands for.

    All state is in Keras variables, so it is saved with the model and can be read inside tf.data:
    `probabilities` [14, 14] and `epoch` (a scalar, the epoch whose images are drawn).
    """

    def __init__(self, history_epochs: int = 5, epsilon: float = 0.1, identity_odds: float = 1.0, **kwargs):
        """Creates a sampler that has learned nothing, at epoch 0.

        Args:
            history_epochs: over how many last epochs the mean weights are taken (s of the method), at least 1.
            epsilon: in [0, 1], the share of the starting table in each later one.
            identity_odds: 0.01 to 100, see `starting_table`; the policy network's contrast head takes the same.
            **kwargs: keras.layers.Layer's.

        Raises:
            UserError: a value out of its range.
        """
        if history_epochs < 1 or not 0 <= epsilon <= 1:
            raise UserError(
                f"the sampler needs history_epochs >= 1 and epsilon in [0, 1], not {history_epochs} and {epsilon}"
            )
        kwargs.setdefault("name", "sampler")
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.history_epochs, self.epsilon, self.identity_odds = history_epochs, epsilon, identity_odds
        self.start = starting_table(identity_odds)
        self.probabilities = self._table("probabilities", PAIR_SHAPE, 0.0)
        self.probabilities.assign(self.start)
        self.epoch = self.add_weight((), "zeros", dtype="int64", name="epoch", trainable=False)
        # Row 0 of the history is the epoch under way, the oldest is last.
        self.weight_sums = self._table("weight_sums", (history_epochs, *PAIR_SHAPE), 0.0)
        self.counts = self._table("counts", (history_epochs, *PAIR_SHAPE), 0.0)
        self.built = True

    def _table(self, name, shape, value):
        return self.add_weight(shape, keras.initializers.Constant(value), name=name, trainable=False)

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
        """Draws the table anew from the epochs kept, drops the oldest and turns to the next epoch."""
        sums, counts = self.weight_sums.numpy(), self.counts.numpy()
        table = pair_probabilities(sums.sum(axis=0), counts.sum(axis=0), self.epsilon, self.start)
        self.probabilities.assign(table)
        for variable, value in ((self.weight_sums, sums), (self.counts, counts)):
            variable.assign(np.concatenate([np.zeros_like(value[:1]), value[:-1]]))
        self.epoch.assign_add(1)

    def get_config(self):
        """Settings from which an untrained sampler can be made again."""
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

    def on_epoch_end(self, epoch, logs=None):
        """Updates probabilities and turns to the next epoch."""
        self.model.sampler.end_epoch()
