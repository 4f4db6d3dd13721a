"""Workers meet before TensorFlow joins them: all are there, and what they are about to do is the same.

TensorFlow waits for workers too, but without end, deaf to signals, and without saying for whom; and workers that
differ in what they compute would wait in it for each other for ever.
"""

import json
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from metaaug_tf.errors import UserError
from metaaug_tf.training.cluster import Cluster

_SECONDS_BETWEEN_TRIES, _SECONDS_TO_ANSWER = 0.2, 5.0


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
        UserError: some did not come in time, or this worker's port is taken.
    """
    others = set(range(len(cluster.addresses))) - {cluster.number}
    told: dict[int, Mapping[str, Any]] = {cluster.number: facts}
    heard: set[int] = set()  # who has our facts
    done = threading.Event()
    with _listen(cluster) as listener:
        answering = threading.Thread(target=_answer, args=(listener, json.dumps(facts).encode(), heard, done))
        answering.start()
        try:
            deadline = time.monotonic() + seconds
            while absent := others - (told.keys() & heard):
                for number in absent - told.keys():
                    if (answer := _ask(cluster, number)) is not None:
                        told[number] = answer
                if time.monotonic() > deadline:
                    names = ", ".join(cluster.name(number) for number in sorted(absent))
                    raise UserError(f"{names} did not come within {seconds:.0f} s; start all workers together")
                time.sleep(_SECONDS_BETWEEN_TRIES)
        finally:
            done.set()
            answering.join()
    return [told[number] for number in sorted(told)]


def _listen(cluster: Cluster) -> socket.socket:
    _, port = cluster.host_and_port(cluster.number)
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise UserError(
            f"port {port} of {cluster.name(cluster.number)} can't be used: {error.strerror}; name another in TF_CONFIG"
        ) from error


def _answer(listener: socket.socket, content: bytes, heard: set[int], done: threading.Event) -> None:
    """Sends the content to every worker that says its number."""
    listener.settimeout(_SECONDS_BETWEEN_TRIES)
    while not done.is_set():
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(_SECONDS_TO_ANSWER)
                number = int(connection.makefile().readline())
                connection.sendall(content)
                heard.add(number)
        except (OSError, ValueError):
            continue  # nobody there, or nobody who knows how to ask


def _ask(cluster: Cluster, number: int) -> Mapping[str, Any] | None:
    """The facts of another worker; None while it is not there."""
    try:
        with socket.create_connection(cluster.host_and_port(number), _SECONDS_TO_ANSWER) as connection:
            connection.sendall(f"{cluster.number}\n".encode())
            return json.loads(connection.makefile().read())
    except (OSError, ValueError):
        return None
