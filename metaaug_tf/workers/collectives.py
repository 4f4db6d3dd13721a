"""Exchanges values between the workers of a training, on top of an all-reduce that sums int64 arrays.

Every worker must make the same calls in the same order. A worker by itself gets back what it passes.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.workers.cluster import cluster_of

# An int64 array of one shape from each worker -> their sum, on every worker.
AllReduce = Callable[[np.ndarray], np.ndarray]
Value = TypeVar("Value")
# Bytes of a message, and of each piece of something longer: the shape of an all-reduce has to stay the same.
_MESSAGE, _PIECE = 8192, 1 << 23
# How what the chief made begins on its way to the others.
_REJECTED, _FINE = b"\0", b"\1"


class Collectives:
    """What this worker and the others exchange.

    Attributes:
        index: of this worker, from 0, who is the chief.
        count: number of workers.
    """

    def __init__(self, index: int = 0, count: int = 1, all_reduce: AllReduce = lambda own: own):
        """Takes this worker's place among the workers, and how arrays are summed over them; by default it is alone."""
        self.index, self.count, self._all_reduce = index, count, all_reduce

    @classmethod
    def of(cls, strategy: tf.distribute.Strategy) -> "Collectives":
        """The collectives of the workers that a strategy joins."""
        cluster = cluster_of(strategy)
        return cls(cluster.index, len(cluster.addresses), strategy_all_reduce(strategy)) if cluster else cls()

    def total(self, own: np.ndarray) -> np.ndarray:
        """Sums int64 arrays, of one shape, over the workers."""
        return own if self.count == 1 else self._all_reduce(own)

    def gather(self, own: np.ndarray) -> np.ndarray:
        """Joins every worker's array along the first axis, in their order; shape and dtype are the same on all."""
        if self.count == 1:
            return own
        content = own.tobytes()
        # Each fills a row of its own and adds zeros to the others', so bytes of any dtype arrive as they are.
        table = np.zeros([self.count, -(-len(content) // 8)], np.int64)
        table[self.index] = np.frombuffer(content.ljust(table[0].nbytes, b"\0"), np.int64)
        rows = [np.frombuffer(row.tobytes()[: len(content)], own.dtype) for row in self.total(table)]
        return np.concatenate([row.reshape(own.shape) for row in rows])

    def messages(self, own: str) -> list[str]:
        """Returns every worker's message, in their order; of a long one the first 8192 bytes."""
        if self.count == 1:
            return [own]
        content = own.encode()[:_MESSAGE].ljust(_MESSAGE, b"\0")
        rows = self.gather(np.frombuffer(content, np.uint8)[None])
        return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in rows]

    def broadcast(self, content: bytes) -> bytes:
        """Returns the chief's bytes, of any length, on every worker; what the others pass does not matter."""
        if self.count == 1:
            return content
        content = b"" if self.index else content
        length = int(self.total(np.array([len(content)], np.int64))[0])
        pieces = []
        for start in range(0, length, _PIECE):
            piece = content[start : start + _PIECE].ljust(_PIECE, b"\0")
            pieces.append(self.total(np.frombuffer(piece, np.int64)).tobytes())
        return b"".join(pieces)[:length]

    def from_chief(
        self, make: Callable[[], Value], encode: Callable[[Value], bytes], decode: Callable[[bytes], Value]
    ) -> Value:
        """Returns what the chief's `make` returns, on every worker; only there it is called.

        Raises:
            UserError: the chief's `make` did; all raise it.
        """
        if self.count == 1:
            return make()
        content = b""
        if self.index == 0:
            try:
                content = _FINE + encode(make())
            except UserError as error:
                content = _REJECTED + str(error).encode()
        content = self.broadcast(content)
        if content[:1] == _REJECTED:
            raise UserError(content[1:].decode())
        return decode(content[1:])


def strategy_all_reduce(strategy: tf.distribute.Strategy) -> AllReduce:
    """The strategy's own all-reduce; a graph is made once for each shape."""
    sums: dict[tuple[int, ...], Callable] = {}

    def total(own: np.ndarray) -> np.ndarray:
        if own.shape not in sums:
            sums[own.shape] = tf.function(
                lambda values: strategy.reduce("SUM", values, axis=None),
                input_signature=[tf.TensorSpec(own.shape, tf.int64)],
                autograph=False,
            )
        return sums[own.shape](tf.constant(own)).numpy()

    return total
