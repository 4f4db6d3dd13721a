"""How fit calls the training step: Keras's loop, with the step compiled alone and the wait for input timed.

Keras 3.15's own loop fails on several workers, and on several replicas with more than one step an execution, and does
not tell how long a step waited for its batch. This one does, for any step function.
"""

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


class InputClock:
    """Seconds that steps spent waiting for their batch, summed up inside the graph."""

    def __init__(self):
        """Starts at zero."""
        with tf.device("CPU:0"):
            self._waited = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="waited_seconds")

    def next(self, iterator):
        """The iterator's next batch; the wait for it is added to the clock."""
        before = tf.timestamp()
        with tf.control_dependencies([before]):
            batch = next(iterator)
        parts = tf.nest.flatten(batch, expand_composites=True)  # a distributed batch is one of all local replicas
        with tf.control_dependencies([part for part in parts if tf.is_tensor(part)]):
            self._waited.assign_add(tf.timestamp() - before)
        return batch

    def read_and_reset(self) -> float:
        """Seconds waited since the last call."""
        seconds = float(self._waited.numpy())
        self._waited.assign(0.0)
        return seconds


def make_loop(
    model: keras.Model, steps: Sequence[Callable], take_batch=next, choose: Callable[[], tf.Tensor] | None = None
) -> Callable:
    """The function that fit or evaluate calls with its iterator: `steps_per_execution` steps, then the logs.

    Logs are those of this worker's first replica: in the course of an epoch, metrics given to compile() show its share
    of the batches; at the end Keras reads the metrics of all.

    Each kind of step is compiled for itself and the choice is made outside: XLA's CPU compiler makes convolutions
    within a conditional many times slower (docs/meta-gradient.md).

    Args:
        model: compiled; gives strategy, steps_per_execution, jit_compile and run_eagerly.
        steps: (batch) -> logs, the kinds of step, as train_step; their logs have the same keys.
        take_batch: (iterator) -> its next batch.
        choose: () -> scalar int32, which kind the next step is; needed where there are several.
    """
    strategy, count = model.distribute_strategy, model.steps_per_execution
    if model.jit_compile and strategy.num_replicas_in_sync == 1 and not model.run_eagerly:
        steps = [tf.function(step, jit_compile=True, reduce_retracing=True, autograph=False) for step in steps]

    def take_step(batch):
        branches = [functools.partial(strategy.run, step, args=(batch,)) for step in steps]
        return branches[0]() if choose is None else tf.switch_case(choose(), branches)

    def run(iterator):
        for _ in tf.range(count - 1):
            take_step(take_batch(iterator))
        logs = take_step(take_batch(iterator))
        return {key: strategy.experimental_local_results(value)[0] for key, value in logs.items()}

    if not model.run_eagerly:
        run = tf.function(run, reduce_retracing=True)

    def call(iterator):
        try:
            return run(iterator)
        except tf.errors.OutOfRangeError:
            raise StopIteration from None

    return call
