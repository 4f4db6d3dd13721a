"""Whoever else is on the network of a rendezvous: strangers, slow ones and floods hold up nobody and break nothing."""

import contextlib
import json
import random
import socket
import threading
import time

import pytest
from multi_worker import free_ports
from pretended_workers import at_once

from metaaug_tf.errors import UserError
from metaaug_tf.workers import rendezvous as module
from metaaug_tf.workers.cluster import Cluster
from metaaug_tf.workers.rendezvous import announce_rejection, rendezvous
from metaaug_tf.workers.wire import Introduction, Rejection, decode


def addresses(count):
    return tuple(f"127.0.0.1:{port}" for port in free_ports(count))


def connect(address, *parts):
    """A connection to a worker, as soon as it listens, on which something has been sent."""
    host, port = address.split(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            connection = socket.create_connection((host, int(port)), timeout=5)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    for part in parts:
        connection.sendall(part)
    return connection


def meeting_among(strangers):
    """What two workers learn of each other if strangers(address of the first) come before the second does."""
    names = addresses(2)

    def come(index):
        with strangers(names[0]) if index == 1 else contextlib.nullcontext():
            return rendezvous(Cluster(names, index), {"own": index}, seconds=20)

    return at_once(come, [0, 1])


MET = [[{"own": 0}, {"own": 1}]] * 2
ONE_LINE = json.dumps({"members": ["worker a:1"], "index": 0, "metadata": {}}).encode()
CONTENTS = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "nothing": b"",
    "random": random.Random(0).randbytes(100_000) + b"\n",
    "nested": b"[" * 500_000 + b"\n",
    "index of an older version": b"1\n",
    "two introductions": ONE_LINE + b"\n" + ONE_LINE + b"\n",
    "half an introduction": ONE_LINE,
    "index of nobody": ONE_LINE.replace(b"0", b"7") + b"\n",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_strangers_do_no_harm(content, recwarn):
    @contextlib.contextmanager
    def stranger(address):
        connect(address, content).close()
        yield

    assert meeting_among(stranger) == MET
    assert not recwarn.list, "no thread has ended with a traceback"


def test_nobody_waits_for_slow_strangers(monkeypatch):
    """They would have an hour, so that waiting for any of them would be noticed."""
    monkeypatch.setattr(module, "_SECONDS_TO_ANSWER", 3600.0)

    @contextlib.contextmanager
    def slow(address):
        done = threading.Event()

        def drip(connection):
            while not done.wait(0.02):
                connection.send(b"x")

        with connect(address), connect(address, b'{"members": ['), connect(address) as dripping:
            thread = threading.Thread(target=drip, args=(dripping,))
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join()

    assert meeting_among(slow) == MET


def test_more_strangers_than_are_answered_at_once_only_take_their_time(monkeypatch):
    monkeypatch.setattr(module, "_MOST_AT_ONCE", 2)
    monkeypatch.setattr(module, "_SECONDS_TO_ANSWER", 0.5)
    most, threads = [], threading.active_count()

    @contextlib.contextmanager
    def flood(address):
        with contextlib.ExitStack() as opened:
            for _ in range(9):
                opened.enter_context(connect(address))
            time.sleep(0.3)
            most.append(threading.active_count())
            yield

    assert meeting_among(flood) == MET
    # Those of this test are two; the worker's are one that accepts and, of each kind, two that ask and that answer.
    assert most[0] - threads <= 2 + 1 + 2 + 2


def test_an_endless_line_is_cut_off():
    sent = []

    @contextlib.contextmanager
    def endless(address):
        with connect(address) as connection, contextlib.suppress(OSError):
            for _ in range(256):
                connection.sendall(bytes(2**20))
                sent.append(2**20)
        yield

    assert meeting_among(endless) == MET
    assert sum(sent) < 2**26, "what the network holds, and no more than a line was read"


def test_of_many_faults_some_are_told():
    names = addresses(2)

    def reject():
        for number in range(100):
            with connect(names[0], Rejection(f"reason {number}").encode()) as connection:
                connection.recv(1)  # until it is taken in

    thread = threading.Thread(target=reject)
    thread.start()
    with pytest.raises(UserError) as rejected:
        rendezvous(Cluster(names, 0), {}, seconds=2)
    thread.join()
    assert str(rejected.value).splitlines() == [
        f"a worker on 127.0.0.1 can't take part: reason {number}" for number in range(16)
    ]


def pretend(names, index, answer, listening=lambda: None):
    """A worker that asks worker 0 once and answers the first who asks by answer(connection).

    listening() is called once it can be asked.
    """
    own = Introduction.of(Cluster(names, index), {"own": index})
    with socket.create_server(("127.0.0.1", int(names[index].split(":")[1]))) as listener:
        listener.settimeout(30)
        listening()
        with connect(names[0], own.encode()) as connection:
            assert decode(connection.makefile("rb").readline()).index == 0
        connection, _ = listener.accept()
        with connection:
            answer(connection, own)


def test_all_are_asked_at_the_same_time(monkeypatch):
    """Worker 1 answers only after worker 2 has been asked."""
    monkeypatch.setattr(module, "_SECONDS_TO_ANSWER", 15.0)
    names, asked = addresses(3), threading.Event()
    begun = threading.Barrier(3, timeout=20)

    def late(connection, own):
        assert asked.wait(10)
        connection.sendall(own.encode())

    def at_once_(connection, own):
        asked.set()
        connection.sendall(own.encode())

    def first():
        begun.wait()
        return rendezvous(Cluster(names, 0), {"own": 0}, seconds=20)

    acts = [
        first,
        lambda: pretend(names, 1, late, begun.wait),
        lambda: pretend(names, 2, at_once_, begun.wait),
    ]
    assert at_once(lambda act: act(), acts) == [[{"own": 0}, {"own": 1}, {"own": 2}], None, None]


ANSWERS = {
    "nothing": lambda connection, own: None,
    "never": lambda connection, own: connection.recv(2**20) and time.sleep(2),
    "random": lambda connection, own: connection.sendall(random.Random(0).randbytes(1000) + b"\n"),
    "endless": lambda connection, own: connection.sendall(bytes(2**25)),
    "half": lambda connection, own: connection.sendall(own.encode()[:-5]),
    "rejection": lambda connection, own: connection.sendall(Rejection("no").encode()),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_who_does_not_answer_as_a_worker_has_not_arrived(answer):
    names = addresses(2)

    def strange(connection, own):
        with contextlib.suppress(OSError):
            answer(connection, own)

    acts = [lambda: rendezvous(Cluster(names, 0), {}, seconds=1), lambda: pretend(names, 1, strange)]
    error, _ = at_once(lambda act: act(), acts)
    assert str(error) == f"worker 1 ({names[1]}) did not arrive within 1 s; start all workers together"


def test_a_rejection_reaches_the_others_past_one_that_hangs(monkeypatch):
    told, released = [], threading.Event()

    def send(address, line):
        if address == "a:1":
            assert released.wait(20), "b:2 was not told meanwhile"
        told.append((address, line))
        released.set()
        return True

    monkeypatch.setattr(module, "_send", send)
    announce_rejection(("a:1", "b:2"), "no port")
    assert told == [(address, Rejection("no port").encode()) for address in ("b:2", "a:1")]
