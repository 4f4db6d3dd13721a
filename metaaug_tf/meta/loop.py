"""How fit calls the training step: Keras's loop, with the step compiled alone and the wait for input timed.

Keras 3.15's own loop fails on several workers, and on several replicas with more than one step an execution, and does
not measure how long a step waited for its batch. This one does, for any step function.
"""

import functools
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta import replicas
from metaaug_tf.meta.step import MetaStep, StepResult, TrainingBatch

# What fit shows: metric name -> value.
Logs = dict[str, Any]
# One step: what the dataset yields -> logs.
StepFunction = Callable[[tuple[Any, ...]], Logs]


class InputClock:
    """Seconds that steps spent waiting for their batch, summed inside the graph."""

    def __init__(self) -> None:
        """Starts at zero."""
        with tf.device("CPU:0"):
            self._waited = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="waited_seconds")

    def next(self, iterator: Iterator) -> Any:
        """Returns the iterator's next batch; adds the wait for it to the clock."""
        before = tf.timestamp()
        with tf.control_dependencies([before]):
            batch = next(iterator)
        parts = tf.nest.flatten(batch, expand_composites=True)  # a distributed batch is one of all local replicas
        with tf.control_dependencies([part for part in parts if tf.is_tensor(part)]):
            self._waited.assign_add(tf.timestamp() - before)
        return batch

    def read_and_reset(self) -> float:
        """Returns the seconds waited since the last call."""
        seconds = float(self._waited.numpy())
        self._waited.assign(0.0)
        return seconds


@dataclass(frozen=True, eq=False)
class TrainingSteps:
    """The kinds of step that fit takes, and which is next.

    Attributes:
        step: the method.
        report: (batch, result of the step) -> logs; updates the metrics.
    """

    step: MetaStep
    report: Callable[[TrainingBatch, StepResult], Logs]

    def kinds(self) -> list[StepFunction]:
        """Returns the steps without and with an update of the policy; only one where all are alike."""
        with_update = functools.partial(self._take, update_policy=True)
        if self.step.all_alike:
            return [with_update]
        return [functools.partial(self._take, update_policy=False), with_update]

    def _take(self, data: tuple[Any, ...], update_policy: bool) -> Logs:
        batch = TrainingBatch.from_data(data)
        return self.report(batch, self.step.take(batch, update_policy))

    def take_next(self, data: tuple[Any, ...]) -> Logs:
        """Takes the step whose turn it is, chosen within the graph.

        Raises:
            UserError: there is a choice and the step is one of several replicas'.
        """
        kinds = self.kinds()
        if len(kinds) == 1:
            return kinds[0](data)
        if replicas.count() > 1:
            raise UserError(
                f"meta_every={self.step.meta_every}, policy_warmup_steps={self.step.policy_warmup_steps}: within "
                "strategy.run a step can't branch, since replicas synchronise in it; call fit, or "
                "model.make_train_function() with an iterator of the distributed dataset"
            )
        return tf.switch_case(self.step.policy_turn(), [functools.partial(kind, data) for kind in kinds])

    def train_function(self, model: keras.Model, take_batch: Callable[[Iterator], Any]) -> Callable[[Iterator], Logs]:
        """Returns what fit calls with its iterator; arguments as in `make_loop`."""
        kinds = self.kinds()
        return make_loop(model, kinds, take_batch, self.step.policy_turn if len(kinds) > 1 else None)


def make_loop(
    model: keras.Model,
    steps: Sequence[StepFunction],
    take_batch: Callable[[Iterator], Any] = next,
    choose: Callable[[], tf.Tensor] | None = None,
) -> Callable[[Iterator], Logs]:
    """Returns what fit or evaluate calls with its iterator: takes `steps_per_execution` steps, returns the last's logs.

    Logs are those of this worker's first replica: in the course of an epoch, metrics given to compile() show its part
    of the batches; at the end Keras reads the metrics of all.

    Each kind of step is compiled for itself and the choice is made outside: XLA's CPU compiler makes convolutions
    within a conditional many times slower (docs/meta-gradient.md).

    Args:
        model: compiled; gives strategy, steps_per_execution, jit_compile and run_eagerly.
        steps: the kinds of step; their logs have the same keys.
        take_batch: (iterator) -> its next batch.
        choose: () -> scalar int32, the index of the next step's kind; needed where there are several.
    """
    strategy, count = model.distribute_strategy, model.steps_per_execution
    if model.jit_compile and strategy.num_replicas_in_sync == 1 and not model.run_eagerly:
        steps = [tf.function(step, jit_compile=True, reduce_retracing=True, autograph=False) for step in steps]

    def take_step(batch: Any) -> Logs:
        branches = [functools.partial(strategy.run, step, args=(batch,)) for step in steps]
        return branches[0]() if choose is None else tf.switch_case(choose(), branches)

    def run(iterator: Iterator) -> Logs:
        for _ in tf.range(count - 1):
            take_step(take_batch(iterator))
        logs = take_step(take_batch(iterator))
        return {key: strategy.experimental_local_results(value)[0] for key, value in logs.items()}

    def run_one(batch: Any) -> Logs:
        return {key: strategy.experimental_local_results(value)[0] for key, value in take_step(batch).items()}

    if not model.run_eagerly:
        run, run_one = (tf.function(function, reduce_retracing=True) for function in (run, run_one))

    def call(iterator: Iterator) -> Logs:
        handled = sys.exception()  # by the caller: no error of ours
        try:
            # train_on_batch and test_on_batch give a generator, which tf.function can't iterate.
            return run_one(next(iterator)) if isinstance(iterator, Generator) else run(iterator)
        except tf.errors.OutOfRangeError:
            raise StopIteration from None
        except Exception as error:
            _raise_own_error(error, handled)
            raise

    return call


def _raise_own_error(error: BaseException, handled: BaseException | None) -> None:
    """Raises the UserError that tf.function has raised another error in place of, if there is one.

    Args:
        error: what tf.function raised.
        handled: the error that was being handled before; it and what it came from are no cause of this one.
    """
    found: BaseException | None = error
    while found is not None and found is not handled and not isinstance(found, UserError):
        found = found.__cause__ or found.__context__
    if isinstance(found, UserError) and found is not handled:
        raise found from None


def uses_xla(jit_compile: bool | str, strategy: tf.distribute.Strategy) -> bool:
    """Returns whether a step is compiled with XLA: "auto" is where there is a GPU; never on several replicas."""
    if jit_compile == "auto":
        jit_compile = bool(tf.config.list_logical_devices("GPU"))
    # XLA can't compile a step whose variables are on several devices: docs/distribution.md.
    return bool(jit_compile) and strategy.num_replicas_in_sync == 1
