"""The rendezvous: before TensorFlow joins them, workers find each other and compare what they are about to do.

TensorFlow waits for workers too, but without end, deaf to signals, and without saying for whom; and workers that
differ in what they compute would wait in it for each other for ever.

Each worker listens at its own address and asks every other one. Who asks introduces itself (see wire.py) and gets an
introduction as the answer, so that both learn of a difference even if only one of them can reach the other.
"""

import socket
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from metaaug_tf.addresses import host_and_port
from metaaug_tf.errors import UserError
from metaaug_tf.workers.cluster import Cluster
from metaaug_tf.workers.wire import Introduction, Rejection, decode, receive_line

_SECONDS_BETWEEN_TRIES, _SECONDS_TO_ANSWER = 0.2, 5.0
# How long a worker that won't train stays, so that the others, which may be still starting, see why.
_SECONDS_TO_BE_SEEN = 10.0
# Connections served at the same time; further ones wait. Strangers can take no more threads and memory than these.
_MOST_AT_ONCE = 64
_MOST_FAULTS = 16


class _Meeting:
    """What this worker knows of the others so far; threads that ask and answer add to it.

    Attributes:
        own: this worker's introduction.
        metadata: of each worker known, by index.
        reached: indices of those that have answered this worker.
        heard: indices of those that this worker has answered.
        faults: reasons not to train, as the keys of a dict, which keeps their order and each only once.
        ended: set when nobody is to be answered any more.
    """

    def __init__(self, own: Introduction):
        self.own = own
        self.metadata: dict[int, Mapping[str, Any]] = {own.index: own.metadata}
        self.reached: set[int] = set()
        self.heard: set[int] = set()
        self.faults: dict[str, None] = {}
        self.ended = threading.Event()

    def absent(self) -> list[int]:
        """Indices of the workers that have not both answered and asked yet."""
        met = self.reached & self.heard
        return [index for index in range(len(self.own.members)) if index not in met and index != self.own.index]

    def note(self, other: Introduction) -> None:
        """Takes in an introduction; notes a fault if TensorFlow would wait for ever with such a worker."""
        if other.members != self.own.members:
            here, there = ", ".join(self.own.members), ", ".join(other.members)
            self.add_fault(f"{other.name} has another TF_CONFIG:\n  here:  {here}\n  there: {there}")
        elif other.index != self.own.index:
            self.metadata[other.index] = other.metadata

    def add_fault(self, fault: str) -> None:
        """Notes a reason not to train."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults[fault] = None


def rendezvous(cluster: Cluster, metadata: Mapping[str, Any], seconds: float) -> list[Mapping[str, Any]]:
    """Reports the metadata to every other worker and returns when all have reported theirs.

    Each listens at its address in the cluster, which it leaves to TensorFlow afterwards.

    Args:
        cluster: who they are.
        metadata: JSON values of this worker.
        seconds: how long to wait for the others.

    Returns:
        The metadata of all, in the order of the workers.

    Raises:
        UserError: some did not arrive in time, have another TF_CONFIG or a malformed one, or this worker's port is
            taken.
    """
    meeting = _Meeting(Introduction.of(cluster, metadata))
    with _listen(cluster) as listener, ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        listener.settimeout(_SECONDS_BETWEEN_TRIES)  # here: the thread may find it closed
        answering = threading.Thread(target=_answer_all, args=(listener, meeting))
        try:
            answering.start()
            _ask_all(cluster, meeting, seconds, pool)
        finally:
            meeting.ended.set()
            if answering.is_alive():  # a signal may have come while it was being started
                answering.join()
    if meeting.faults:
        raise UserError("\n".join(meeting.faults))
    return [meeting.metadata[index] for index in range(len(cluster.addresses))]


def _listen(cluster: Cluster) -> socket.socket:
    _, port = cluster.host_and_port(cluster.index)
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        reason = f"port {port} of {cluster.name(cluster.index)} can't be used: {error.strerror}"
        announce_rejection(cluster.addresses, reason)
        raise UserError(f"{reason}; name another in TF_CONFIG") from error


def _ask_all(cluster: Cluster, meeting: _Meeting, seconds: float, pool: ThreadPoolExecutor) -> None:
    """Asks the others again and again, all at the same time, until each has answered and asked; or notes a fault."""
    deadline = time.monotonic() + seconds
    while absent := meeting.absent():
        unreached = [index for index in absent if index not in meeting.reached]
        wait = min(_SECONDS_TO_ANSWER, max(deadline - time.monotonic(), _SECONDS_BETWEEN_TRIES))
        answers = pool.map(lambda index, wait=wait: _ask(cluster, index, meeting, wait), unreached)
        for index, answer in zip(unreached, answers, strict=True):
            if answer is None:
                continue
            meeting.note(answer)
            meeting.reached.add(index)
            if answer.members == meeting.own.members and answer.index != index:
                meeting.add_fault(
                    f'{cluster.name(index)} takes itself for worker {answer.index}: "index" in its TF_CONFIG is wrong'
                )
        if meeting.faults:
            deadline = min(deadline, time.monotonic() + _SECONDS_TO_BE_SEEN)
        if time.monotonic() > deadline:
            if not meeting.faults:
                names = ", ".join(cluster.name(index) for index in meeting.absent())
                meeting.add_fault(f"{names} did not arrive within {seconds:.0f} s; start all workers together")
            return
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _ask(cluster: Cluster, index: int, meeting: _Meeting, seconds: float) -> Introduction | None:
    """What another worker answers to this one's introduction; None while it is not there."""
    try:
        with socket.create_connection(cluster.host_and_port(index), seconds) as connection:
            connection.sendall(meeting.own.encode())
            answer = decode(receive_line(connection, seconds, meeting.ended))
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, Introduction) else None


def _answer_all(listener: socket.socket, meeting: _Meeting) -> None:
    """Answers whoever connects, each in a thread of its own, so that nobody waits for a slow one."""
    free = threading.BoundedSemaphore(_MOST_AT_ONCE)
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        while not meeting.ended.is_set():
            if not free.acquire(timeout=_SECONDS_BETWEEN_TRIES):
                continue
            try:
                connection, (host, *_) = listener.accept()
            except OSError as error:
                free.release()
                if not isinstance(error, TimeoutError):  # no file descriptor is left, for instance
                    meeting.ended.wait(_SECONDS_BETWEEN_TRIES)
                continue
            answered = pool.submit(_answer, connection, host.removeprefix("::ffff:"), meeting)
            answered.add_done_callback(lambda _: free.release())


def _answer(connection: socket.socket, host: str, meeting: _Meeting) -> None:
    """Answers a worker with this one's introduction, or notes why it rejects the training; ignores strangers."""
    with connection:
        try:
            message = decode(receive_line(connection, _SECONDS_TO_ANSWER, meeting.ended))
            if isinstance(message, Rejection):
                meeting.add_fault(f"a worker on {host} can't take part: {message.reason}")
                return
            connection.settimeout(_SECONDS_TO_ANSWER)
            connection.sendall(meeting.own.encode())
        except (OSError, ValueError):
            return  # nobody there, or nobody who knows how to ask
    meeting.note(message)
    meeting.heard.add(message.index)


def announce_rejection(addresses: Iterable[str], reason: str) -> None:
    """Tells others that this worker, which they can't ask, won't come; gives up on those that aren't there.

    Args:
        addresses: HOST:PORT of whoever may be a worker.
        reason: for people to read.
    """
    line = Rejection(reason).encode()
    untold, deadline = set(addresses), time.monotonic() + _SECONDS_TO_BE_SEEN
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        while untold and time.monotonic() < deadline:
            tried = sorted(untold)
            told = pool.map(lambda address: _send(address, line), tried)
            untold -= {address for address, done in zip(tried, told, strict=True) if done}
            time.sleep(_SECONDS_BETWEEN_TRIES)


def _send(address: str, line: bytes) -> bool:
    try:
        with socket.create_connection(host_and_port(address), _SECONDS_TO_ANSWER) as connection:
            connection.sendall(line)
        return True
    except (OSError, ValueError):
        return False
