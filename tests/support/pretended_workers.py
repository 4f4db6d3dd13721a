"""Two workers as threads of one process, joined by a board instead of a network."""

import threading

import numpy as np

from metaaug_tf.signals import Stopped
from metaaug_tf.workers.cluster import Cluster
from metaaug_tf.workers.workers import Workers

ADDRESSES = ("a:1", "b:2")


class Board:
    """Sums up what two threads bring, as an all-reduce would."""

    def __init__(self):
        self._brought, self._barrier = {}, threading.Barrier(2, timeout=20)

    def total(self, number, numbers):
        self._brought[number] = numbers
        self._barrier.wait()
        result = self._brought[0] + self._brought[1]
        self._barrier.wait()
        return result


class Pretending(Workers):
    """A worker whose all-reduce is a board."""

    def __init__(self, number, board):
        super().__init__()
        self.cluster, self._board = Cluster(ADDRESSES, number), board

    def total(self, numbers):
        return self._board.total(self.number, np.asarray(numbers, np.int64))


def both(act):
    """What act(worker) returns or raises on each of two workers."""
    board, found = Board(), {}

    def run(number):
        try:
            found[number] = act(Pretending(number, board))
        except (Exception, Stopped) as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return [found[0], found[1]]
