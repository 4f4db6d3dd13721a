"""What workers send each other at the rendezvous: lines of JSON, of which nothing is believed unseen.

Anybody on the network may connect, so a line is bounded in length and time, and each value in it is checked.
"""

import json
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metaaug_tf.addresses import host_and_port
from metaaug_tf.workers.cluster import Cluster

# Far above an introduction: settings take 3 kB, and each worker's address 30 bytes.
MOST_BYTES = 2**20
_CHUNK = 2**16
_SECONDS_BETWEEN_LOOKS = 0.2
_MOST_CHARACTERS_SHOWN = 10_000


@dataclass(frozen=True)
class Introduction:
    """How a worker introduces itself.

    Attributes:
        members: job and address of each worker, in order, in the TF_CONFIG of this one.
        index: which of them it is.
        metadata: JSON values that it reports.
    """

    members: tuple[str, ...]
    index: int
    metadata: Mapping[str, Any]

    @classmethod
    def of(cls, cluster: Cluster, metadata: Mapping[str, Any]) -> "Introduction":
        """The introduction of this process."""
        jobs = ["chief" if index < cluster.chiefs else "worker" for index in range(len(cluster.addresses))]
        members = (f"{job} {address}" for job, address in zip(jobs, cluster.addresses, strict=True))
        return cls(tuple(members), cluster.index, metadata)

    @property
    def name(self) -> str:
        """The worker's name in messages, by its own TF_CONFIG."""
        return f"worker {self.index} ({self.members[self.index].split()[1]})"

    def encode(self) -> bytes:
        """Returns the line that says so."""
        return _line({"members": self.members, "index": self.index, "metadata": self.metadata})


@dataclass(frozen=True)
class Rejection:
    """What a worker says that can't take part.

    Attributes:
        reason: for people to read.
    """

    reason: str

    def encode(self) -> bytes:
        """Returns the line that says so."""
        return _line({"rejects": self.reason})


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def decode(line: bytes) -> Introduction | Rejection:
    """Returns what a line says.

    Raises:
        ValueError: it says neither.
    """
    try:
        value = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    match value:
        case {"rejects": str(reason)}:
            return Rejection("".join(filter(_is_shown, reason[:_MOST_CHARACTERS_SHOWN])))
        case {"members": list(members), "index": int(index), "metadata": dict(metadata)}:
            if all(map(_is_member, members)) and index in range(len(members)) and not isinstance(index, bool):
                return Introduction(tuple(members), index, metadata)
    raise ValueError("neither an introduction nor a rejection")


def _is_shown(character: str) -> bool:
    """Whether a terminal shows the character and does nothing else on seeing it."""
    return character.isprintable() or character == "\n"


def _is_member(value: Any) -> bool:
    if not isinstance(value, str) or not value.isprintable():
        return False
    job, _, address = value.partition(" ")
    try:
        return job in ("chief", "worker") and bool(host_and_port(address))
    except ValueError:
        return False


def receive_line(connection: socket.socket, seconds: float, ended: threading.Event) -> bytes:
    """Receives one line, without its end.

    Args:
        connection: to read from.
        seconds: how long the whole line may take, however it drips in.
        ended: gives up as soon as this is set.

    Raises:
        OSError: nobody sends any more, or not in time.
        ValueError: it is longer than MOST_BYTES, or breaks off.
    """
    deadline, received = time.monotonic() + seconds, bytearray()
    connection.settimeout(_SECONDS_BETWEEN_LOOKS)
    while not received.endswith(b"\n"):
        if ended.is_set() or time.monotonic() > deadline:
            raise TimeoutError
        try:
            chunk = connection.recv(_CHUNK)
        except TimeoutError:
            continue
        received += chunk
        if not chunk or len(received) > MOST_BYTES:
            raise ValueError("no whole line, or one that is too long")
    return bytes(received[:-1])
