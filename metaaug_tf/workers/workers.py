"""The processes that train together: who they are, and what they decide and reject together between two steps.

Every worker must make the same calls in the same order. One process alone makes them too and talks to nobody.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError, WorkerLost
from metaaug_tf.signals import SIGNALS, Stopped, StopRequest
from metaaug_tf.workers.cluster import Cluster, cluster_of
from metaaug_tf.workers.collectives import Collectives


class Workers:
    """This process and those it trains with.

    Attributes:
        strategy: of tf.distribute; all of its replicas take every step together.
        cluster: who they are, or None for a process by itself.
        collectives: what they exchange.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        """Takes the strategy, by default the one around; it knows the cluster."""
        self.strategy = strategy or tf.distribute.get_strategy()
        self.cluster, self.collectives = cluster_of(self.strategy), Collectives.of(self.strategy)

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.collectives.count

    @property
    def index(self) -> int:
        """Which of them this is, from 0."""
        return self.collectives.index

    @property
    def is_chief(self) -> bool:
        """Whether it is this one that writes the run's files."""
        return self.index == 0

    @property
    def replicas(self) -> int:
        """How many devices, of all processes, share a batch."""
        return self.strategy.num_replicas_in_sync

    def scope(self) -> AbstractContextManager:
        """Within it variables are made, on every device."""
        return self.strategy.scope()

    @contextmanager
    def rejecting_together(self) -> Iterator[None]:
        """What one worker rejects within it, all reject. Nothing that all do together may be within it.

        Raises:
            UserError: with the reason of each that has one.
        """
        if self.count == 1:
            yield
            return
        fault = ""
        try:
            yield
        except UserError as error:
            fault = str(error)
        faults = self.collectives.messages(fault)
        if any(faults):
            raise UserError(self._name_faults(faults))

    def _name_faults(self, faults: list[str]) -> str:
        if len(set(faults)) == 1:
            return faults[0]
        return "\n".join(f"{self._name(index)}: {fault}" for index, fault in enumerate(faults) if fault)

    def _name(self, index: int) -> str:
        return self.cluster.name(index) if self.cluster else "this process"

    def check_same(self, what: str, text: str) -> None:
        """Rejects workers for which a text is not the same.

        Raises:
            UserError: on all workers; says what it is of.
        """
        texts = self.collectives.messages(text)
        if different := [self._name(index) for index, other in enumerate(texts) if other != texts[0]]:
            raise UserError(f"{' and '.join(different)} have other {what} than the chief, {self._name(0)}")

    def agree(self, stop: StopRequest, due: bool = False) -> tuple[int | None, bool]:
        """Returns what all workers do after this step.

        Args:
            stop: whether a signal has come to this worker.
            due: whether it is time for a checkpoint; the chief's clock counts.

        Returns:
            (a signal that has come to any worker, or None; whether it is time).
        """
        own = [stop.signum == signum for signum in SIGNALS] + [due and self.is_chief]
        *signals, due_for_all = self.collectives.total(np.array(own, np.int64))
        return next((signum for signum, count in zip(SIGNALS, signals, strict=True) if count), None), bool(due_for_all)

    def check_stop(self, stop: StopRequest) -> None:
        """Raises Stopped on all workers if a signal has come to any."""
        signum, _ = self.agree(stop)
        if signum is not None:
            raise Stopped(signum)


_KINDS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")


@contextmanager
def raising_worker_lost(workers: Workers) -> Iterator[None]:
    """Raises WorkerLost for the errors that a dead worker causes in this one; without other workers they pass.

    Raises:
        WorkerLost: names the dead worker if TensorFlow did.
    """
    try:
        yield
    except tf.errors.OpError as error:
        lost = isinstance(error, _KINDS) or "Collective ops is aborted" in error.message
        if workers.cluster is None or not lost:
            raise
        raise WorkerLost(
            f"lost contact with {_name_in(error.message, workers.cluster)}; its own output says why, if it could. This "
            "worker stops too.\nStart all workers again with the same command: they resume from the newest checkpoint."
        ) from error


def _name_in(message: str, cluster: Cluster) -> str:
    indices = [int(task) + (cluster.chiefs if job == "worker" else 0) for job, task in _TASK.findall(message)]
    others = [index for index in indices if index != cluster.index]
    return cluster.name(others[-1]) if others else "another worker"
