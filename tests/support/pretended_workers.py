"""Workers as threads of one process, joined by a board instead of a network."""

import threading

import numpy as np

from metaaug_tf.signals import Stopped
from metaaug_tf.workers.cluster import Cluster
from metaaug_tf.workers.collectives import Collectives
from metaaug_tf.workers.workers import Workers

ADDRESSES = ("a:1", "b:2")


class Board:
    """Sums up what the threads bring, as an all-reduce would."""

    def __init__(self, count):
        self.count = count
        self._brought, self._barrier = {}, threading.Barrier(count, timeout=20)

    def collectives(self, index):
        return Collectives(index, self.count, lambda own: self._total(index, own))

    def _total(self, index, own):
        assert own.dtype == np.int64
        self._brought[index] = own
        self._barrier.wait()
        brought = [self._brought[index] for index in range(self.count)]
        assert len({array.shape for array in brought}) == 1, "TensorFlow would wait for ever"
        self._barrier.wait()
        return sum(brought)


class Pretending(Workers):
    """A worker of two whose all-reduce is a board."""

    def __init__(self, index, board):
        super().__init__()
        self.cluster = Cluster(ADDRESSES, index)
        self.collectives = board.collectives(index) if board else Collectives(index, len(ADDRESSES))


def at_once(act, members):
    """What act(member) returns or raises, each in a thread of its own, in the order of the members."""
    found = {}

    def run(index, member):
        try:
            found[index] = act(member)
        except (Exception, Stopped) as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(members)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return [found[index] for index in range(len(members))]


def both(act):
    """What act(worker) returns or raises on each of two workers."""
    board = Board(2)
    return at_once(act, [Pretending(index, board) for index in range(2)])


def all_of(count, act):
    """What act(collectives) returns or raises on each of a number of workers."""
    board = Board(count)
    return at_once(act, [board.collectives(index) for index in range(count)])
