"""Workers meet before TensorFlow joins them: all are there, know the same workers, and tell what they are about to do.

TensorFlow waits for workers too, but without end, deaf to signals, and without saying for whom; and workers that
differ in what they compute would wait in it for each other for ever.
"""

import json
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from metaaug_tf.errors import UserError
from metaaug_tf.workers.cluster import Cluster, host_and_port

_SECONDS_BETWEEN_TRIES, _SECONDS_TO_ANSWER = 0.2, 5.0
# For so long a worker that won't train stays, so that the others, which may be still starting, see why.
_SECONDS_TO_BE_SEEN = 10.0
# How a worker that has no number to say begins.
_REFUSES = "refuses "


def meet(cluster: Cluster, facts: Mapping[str, Any], seconds: float) -> list[Mapping[str, Any]]:
    """Tells every other worker the facts and returns when all have told theirs.

    Each listens at its address in the cluster, which it leaves to TensorFlow afterwards.

    Args:
        cluster: who they are.
        facts: JSON values of this worker.
        seconds: how long to wait for the others.

    Returns:
        The facts of all, in the order of the workers.

    Raises:
        UserError: some did not come in time, have another TF_CONFIG or a malformed one, or this worker's port is taken.
    """
    others = set(range(len(cluster.addresses))) - {cluster.index}
    told: dict[int, Mapping[str, Any]] = {cluster.index: facts}
    heard: set[int] = set()  # who has our facts
    faults: list[str] = []
    content = {"members": _members(cluster), "number": cluster.index, "facts": facts}
    done = threading.Event()
    with _listen(cluster) as listener:
        answering = threading.Thread(target=_answer, args=(listener, content, heard, faults, done))
        try:
            answering.start()
            deadline = time.monotonic() + seconds
            while absent := others - (told.keys() & heard):
                for number in sorted(absent - told.keys()):
                    if (answer := _ask(cluster, number)) is not None:
                        told[number] = answer["facts"]
                        faults += _faults_in(answer, cluster, number)
                if faults:
                    deadline = min(deadline, time.monotonic() + _SECONDS_TO_BE_SEEN)
                if time.monotonic() > deadline:
                    names = ", ".join(cluster.name(number) for number in sorted(absent))
                    faults = faults or [f"{names} did not come within {seconds:.0f} s; start all workers together"]
                    break
                time.sleep(_SECONDS_BETWEEN_TRIES)
        finally:
            done.set()
            if answering.is_alive():  # a signal may have come while it was being started
                answering.join()
    if faults:
        raise UserError("\n".join(faults))
    return [told[number] for number in sorted(told)]


def _listen(cluster: Cluster) -> socket.socket:
    _, port = cluster.host_and_port(cluster.index)
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        reason = f"port {port} of {cluster.name(cluster.index)} can't be used: {error.strerror}"
        tell_refusal(cluster.addresses, reason)
        raise UserError(f"{reason}; name another in TF_CONFIG") from error


def _answer(
    listener: socket.socket, content: Mapping[str, Any], heard: set[int], faults: list[str], done: threading.Event
) -> None:
    """Sends the content to every worker that says its number, and notes who refuses to train."""
    listener.settimeout(_SECONDS_BETWEEN_TRIES)
    while not done.is_set():
        try:
            connection, (host, *_) = listener.accept()
            with connection:
                connection.settimeout(_SECONDS_TO_ANSWER)
                line = connection.makefile().readline()
                if line.startswith(_REFUSES):
                    reason = json.loads(line.removeprefix(_REFUSES))
                    faults.append(f"a worker on {host.removeprefix('::ffff:')} refuses: {reason}")
                    continue
                number = int(line)
                connection.sendall(json.dumps(content).encode())
                heard.add(number)
        except (OSError, ValueError):
            continue  # nobody there, or nobody who knows how to ask


def _members(cluster: Cluster) -> list[str]:
    """Job and address of each worker."""
    jobs = ["chief" if number < cluster.chiefs else "worker" for number in range(len(cluster.addresses))]
    return [f"{job} {address}" for job, address in zip(jobs, cluster.addresses, strict=True)]


def _faults_in(answer: Mapping[str, Any], cluster: Cluster, number: int) -> list[str]:
    """What in the answer of a worker would make TensorFlow wait for ever."""
    if answer["members"] != (own := _members(cluster)):
        here, there = ", ".join(own), ", ".join(answer["members"])
        return [f"{cluster.name(number)} has another TF_CONFIG:\n  here:  {here}\n  there: {there}"]
    if answer["number"] != number:
        return [f'{cluster.name(number)} takes itself for worker {answer["number"]}: "index" in its TF_CONFIG is wrong']
    return []


def _ask(cluster: Cluster, number: int) -> Mapping[str, Any] | None:
    """What another worker answers; None while it is not there."""
    try:
        with socket.create_connection(cluster.host_and_port(number), _SECONDS_TO_ANSWER) as connection:
            connection.sendall(f"{cluster.index}\n".encode())
            return json.loads(connection.makefile().read())
    except (OSError, ValueError):
        return None


def tell_refusal(addresses: Iterable[str], reason: str) -> None:
    """Tells others that this worker, which they can't ask, won't come; gives up on those that aren't there.

    Args:
        addresses: HOST:PORT of whoever may be a worker.
        reason: for people to read.
    """
    left, deadline = set(addresses), time.monotonic() + _SECONDS_TO_BE_SEEN
    while left and time.monotonic() < deadline:
        left = {address for address in left if not _tell(address, f"{_REFUSES}{json.dumps(reason)}\n")}
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _tell(address: str, line: str) -> bool:
    try:
        with socket.create_connection(host_and_port(address), _SECONDS_TO_ANSWER) as connection:
            connection.sendall(line.encode())
        return True
    except (OSError, ValueError, OverflowError):
        return False
