"""What TensorFlow raises when another worker has died, as one message that says whom it misses."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from metaaug_tf.errors import WorkerLost
from metaaug_tf.training.cluster import Cluster
from metaaug_tf.training.workers import Workers

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
