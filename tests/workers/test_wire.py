"""Lines that workers exchange at the rendezvous: what is written is read, and all else is turned away."""

import json
import socket
import threading

import pytest

from metaaug_tf.workers.cluster import Cluster
from metaaug_tf.workers.wire import MOST_BYTES, Introduction, Rejection, decode, receive_line

MEMBERS = ["chief h0:1", "worker h1:2"]


def line(**changes):
    return json.dumps({"members": MEMBERS, "index": 1, "metadata": {"a": 1}, **changes}).encode()


def test_what_is_encoded_is_decoded():
    own = Introduction.of(Cluster(("h0:1", "h1:2", "[::1]:3"), 2, chiefs=1), {"a": [1, "é"], "b": None})
    assert own.members == ("chief h0:1", "worker h1:2", "worker [::1]:3")
    assert own.name == "worker 2 ([::1]:3)"
    for message in (own, Rejection("TF_CONFIG is malformed:\n  é")):
        encoded = message.encode()
        assert encoded.endswith(b"\n") and encoded.count(b"\n") == 1
        assert decode(encoded) == message


STRANGE = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r",
    "bytes": bytes(range(256)),
    "a number": b"1",
    "a list": b"[1, 2]",
    "a long number": b"9" * 100_000,
    "nested": b"[" * 200_000,
    "no reason": b'{"rejects": 5}',
    "no members": line(members=[]),
    "members in words": line(members="ab"),
    "other jobs": line(members=["ps h0:1", "worker h1:2"]),
    "members without a port": line(members=["chief h0:1", "worker h1"]),
    "members of a terminal": line(members=["chief h0:1", "worker \x1b[2J:2"]),
    "index in words": line(index="1"),
    "index true": line(index=True),
    "index below": line(index=-1),
    "index above": line(index=2),
    "index broken": line(index=1.0),
    "metadata missing": json.dumps({"members": MEMBERS, "index": 1}).encode(),
    "metadata in a list": line(metadata=[1]),
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE.keys())
def test_what_is_neither_is_turned_away(content):
    assert decode(line()) == Introduction(tuple(MEMBERS), 1, {"a": 1})
    with pytest.raises(ValueError):
        decode(content)


def test_a_reason_does_nothing_to_the_terminal_and_is_not_endless():
    assert decode(Rejection("a\x1b[2J\r\nb\x07").encode()) == Rejection("a[2J\nb")
    assert decode(Rejection("x" * 100_000).encode()) == Rejection("x" * 10_000)


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_a_line_is_received_however_it_is_cut(pair):
    def send():
        for part in (b"ab", b"c" * 100_000, b"\n"):
            pair[0].sendall(part)

    thread = threading.Thread(target=send)
    thread.start()
    assert receive_line(pair[1], 20, threading.Event()) == b"ab" + b"c" * 100_000
    thread.join()


def test_who_says_nothing_is_waited_for_only_so_long(pair):
    with pytest.raises(TimeoutError):
        receive_line(pair[1], 0.3, threading.Event())


def test_a_line_that_drips_in_has_no_more_time_than_another(pair):
    done = threading.Event()

    def drip():
        for _ in range(500):
            if done.wait(0.02):
                return
            pair[0].send(b"x")
        pair[0].shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(TimeoutError):
            receive_line(pair[1], 0.5, threading.Event())
    finally:
        done.set()
        thread.join()


def test_nobody_is_waited_for_once_the_rendezvous_has_ended(pair):
    ended = threading.Event()
    threading.Timer(0.1, ended.set).start()
    too_late = threading.Timer(10, pair[0].shutdown, [socket.SHUT_WR])
    too_late.start()
    with pytest.raises(TimeoutError):
        receive_line(pair[1], 3600, ended)
    too_late.cancel()


@pytest.mark.parametrize("end", [b"", b"\nmore"], ids=["broken off", "two lines"])
def test_what_is_not_one_line_is_turned_away(pair, end):
    pair[0].sendall(b"half" + end)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(ValueError, match="no whole line"):
        receive_line(pair[1], 20, threading.Event())


def test_of_an_endless_line_only_the_beginning_is_read(pair):
    sent = []

    def send():
        try:
            for _ in range(64):
                pair[0].sendall(bytes(2**20))
                sent.append(2**20)
        except OSError:
            pass

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(ValueError, match="too long"):
        receive_line(pair[1], 60, threading.Event())
    pair[1].close()
    thread.join(timeout=20)
    assert sum(sent) <= MOST_BYTES + 2**21
