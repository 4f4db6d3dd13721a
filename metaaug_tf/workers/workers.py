"""What the processes that train together tell each other between steps, through the strategy's own all-reduce.

Every worker has to make the same calls in the same order. One process alone makes them too and talks to nobody.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError, WorkerLost
from metaaug_tf.signals import SIGNALS, Stopped, StopRequest
from metaaug_tf.workers.cluster import Cluster

Value = TypeVar("Value")
# Bytes of a message, and what goes at once of something longer: the shape of an all-reduce has to stay the same.
_MESSAGE, _PIECE = 8192, 1 << 23
_REFUSED, _FINE = b"\0", b"\1"


class Workers:
    """This process and those it trains with.

    Attributes:
        strategy: of tf.distribute; all of its replicas take every step together.
        cluster: who they are, or None for a process by itself.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        """Takes the strategy, by default the one around; it knows the cluster."""
        self.strategy = strategy or tf.distribute.get_strategy()
        self.cluster = _cluster_of(self.strategy)
        self._sums: dict[tuple[int, ...], Callable] = {}

    @property
    def count(self) -> int:
        """How many processes there are."""
        return len(self.cluster.addresses) if self.cluster else 1

    @property
    def number(self) -> int:
        """Which of them this is, from 0."""
        return self.cluster.number if self.cluster else 0

    @property
    def is_chief(self) -> bool:
        """Whether it is this one that writes the run's files."""
        return self.number == 0

    @property
    def replicas(self) -> int:
        """How many devices, of all processes, share a batch."""
        return self.strategy.num_replicas_in_sync

    def scope(self) -> AbstractContextManager:
        """Within it variables are made, on every device."""
        return self.strategy.scope()

    def total(self, numbers: np.ndarray) -> np.ndarray:
        """Sums int64 arrays, of one shape, over the workers."""
        if self.count == 1:
            return numbers
        if numbers.shape not in self._sums:
            self._sums[numbers.shape] = tf.function(
                lambda own: self.strategy.reduce("SUM", own, axis=None),
                input_signature=[tf.TensorSpec(numbers.shape, tf.int64)],
                autograph=False,
            )
        return self._sums[numbers.shape](tf.constant(numbers)).numpy()

    def gather(self, own: np.ndarray) -> np.ndarray:
        """Every worker's array, joined along the first axis in their order; shape and dtype are the same on all."""
        if self.count == 1:
            return own
        content = own.tobytes()
        table = np.zeros([self.count, -(-len(content) // 8)], np.int64)
        table[self.number] = np.frombuffer(content.ljust(table[0].nbytes, b"\0"), np.int64)
        rows = [np.frombuffer(row.tobytes()[: len(content)], own.dtype) for row in self.total(table)]
        return np.concatenate([row.reshape(own.shape) for row in rows])

    def messages(self, own: str) -> list[str]:
        """Every worker's message, in their order; of a long one the beginning."""
        if self.count == 1:
            return [own]
        content = own.encode()[:_MESSAGE].ljust(_MESSAGE, b"\0")
        rows = self.gather(np.frombuffer(content, np.uint8)[None])
        return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in rows]

    def from_chief(
        self, make: Callable[[], Value], encode: Callable[[Value], bytes], decode: Callable[[bytes], Value]
    ) -> Value:
        """What the chief's `make` returns, on every worker; only there it is called.

        Raises:
            UserError: the chief's `make` did.
        """
        if self.count == 1:
            return make()
        content = b""
        if self.is_chief:
            try:
                content = _FINE + encode(make())
            except UserError as error:
                content = _REFUSED + str(error).encode()
        content = self._broadcast(content)
        if content[:1] == _REFUSED:
            raise UserError(content[1:].decode())
        return decode(content[1:])

    def _broadcast(self, content: bytes) -> bytes:
        length = int(self.total(np.array([len(content)]))[0])
        pieces = []
        for start in range(0, length, _PIECE):
            piece = content[start : start + _PIECE].ljust(_PIECE, b"\0")
            pieces.append(self.total(np.frombuffer(piece, np.int64)).tobytes())
        return b"".join(pieces)[:length]

    @contextmanager
    def refusing_together(self) -> Iterator[None]:
        """What one worker refuses within it, all refuse. Nothing that all do together may be within it.

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
        faults = self.messages(fault)
        if any(faults):
            raise UserError(self._name_faults(faults))

    def _name_faults(self, faults: list[str]) -> str:
        if len(set(faults)) == 1:
            return faults[0]
        return "\n".join(f"{self.cluster.name(number)}: {fault}" for number, fault in enumerate(faults) if fault)

    def check_same(self, what: str, text: str) -> None:
        """Refuses workers for which a text is not the same.

        Raises:
            UserError: on all workers; says what it is of.
        """
        texts = self.messages(text)
        if different := [self.cluster.name(i) for i, other in enumerate(texts) if other != texts[0]]:
            raise UserError(f"{' and '.join(different)} have other {what} than the chief, {self.cluster.name(0)}")

    def agree(self, stop: StopRequest, due: bool = False) -> tuple[int | None, bool]:
        """What all do after this step.

        Args:
            stop: whether a signal has come to this worker.
            due: whether it is time for a checkpoint; the chief's clock counts.

        Returns:
            (a signal that has come to any worker, or None; whether it is time).
        """
        own = [stop.number == number for number in SIGNALS] + [due and self.is_chief]
        *signals, due_for_all = self.total(np.array(own, np.int64))
        return next((number for number, count in zip(SIGNALS, signals, strict=True) if count), None), bool(due_for_all)

    def check_stop(self, stop: StopRequest) -> None:
        """Raises Stopped on all workers if a signal has come to any."""
        number, _ = self.agree(stop)
        if number is not None:
            raise Stopped(number)


def _cluster_of(strategy: tf.distribute.Strategy) -> Cluster | None:
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict() if resolver else {}
    return Cluster.of(jobs, resolver.task_type, resolver.task_id) if jobs else None


_KINDS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")


@contextmanager
def loss_of_workers_named(workers: Workers) -> Iterator[None]:
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
            "worker stops too.\nStart all workers again with the same command: they go on from the newest checkpoint."
        ) from error


def _name_in(message: str, cluster: Cluster) -> str:
    numbers = [int(task) + (cluster.chiefs if job == "worker" else 0) for job, task in _TASK.findall(message)]
    others = [number for number in numbers if number != cluster.number]
    return cluster.name(others[-1]) if others else "another worker"
