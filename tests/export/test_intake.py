"""Bodies and answers are held within bounds, someone can always finish, and nobody is waited for without end."""

import asyncio

import pytest

from metaaug_tf.export.server import intake as module
from metaaug_tf.export.server.intake import ClientGone, Exchange, Intake
from metaaug_tf.export.server.rest import RequestError

LARGE = 2**20


class Peer:
    """A client's side of an exchange: sends parts as they are put, takes answers unless it is told not to."""

    def __init__(self, intake, length=LARGE):
        self.parts, self.sent, self.aborted, self.takes = asyncio.Queue(), [], False, asyncio.Event()
        self.takes.set()
        scope = {"headers": [(b"content-length", b"%d" % length)], "state": {"abort": self.abort}}
        self.exchange = Exchange(scope, self.parts.get, self.take, intake, closing=False)
        self.body = None

    def put(self, size, more=True):
        self.parts.put_nowait({"type": "http.request", "body": b" " * size, "more_body": more})

    def abort(self):
        self.aborted = True
        self.parts.put_nowait({"type": "http.disconnect"})
        self.takes.set()

    async def take(self, message):
        await self.takes.wait()
        self.sent.append(message)

    async def reading(self):
        self.body = asyncio.create_task(self.exchange.body())
        await settle()
        return self


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_one_body_after_the_other_is_read_where_there_is_no_room():
    async def run():
        intake = Intake(LARGE)
        first, second = [await Peer(intake).reading() for _ in range(2)]
        intake.bodies.held = 8 * LARGE  # by others
        for peer in (first, second):
            peer.put(LARGE // 2)
        await settle()
        second.put(1, more=False)
        await settle()
        assert not first.body.done() and second.parts.qsize() == 1  # it is the first one's turn
        first.put(1, more=False)
        await settle()
        assert first.body.done() and second.body.done()
        for peer in (first, second):
            peer.exchange.release()
        assert intake.held() == {"bodies": 8 * LARGE, "answers": 0}

    asyncio.run(run())


def test_a_large_request_is_rejected_at_once_where_there_is_no_room_but_no_small_one():
    async def run():
        intake = Intake(LARGE)
        intake.bodies.held = 8 * LARGE
        late = await Peer(intake).reading()
        with pytest.raises(RequestError, match="as many large requests as it may") as rejected:
            await late.body
        assert (rejected.value.status, rejected.value.retry_after) == (503, 5)
        small = await Peer(intake, 10).reading()
        small.put(10, more=False)
        assert await small.body == b" " * 10

    asyncio.run(run())


def test_a_body_that_is_not_sent_is_dropped():
    async def run():
        intake = Intake(LARGE)
        peer = await Peer(intake).reading()
        peer.put(9)
        await settle()
        now = asyncio.get_running_loop().time()
        intake.tick(now + module.BODY_SECONDS - 1)
        assert not peer.aborted
        intake.tick(now + module.BODY_SECONDS + 1)
        with pytest.raises(ClientGone):
            await peer.body
        assert peer.aborted and not intake.reading

    asyncio.run(run())


def test_answers_wait_for_room_in_vain_where_none_is_taken(monkeypatch):
    async def run():
        intake = Intake(LARGE)
        await Peer(intake).exchange.hold_answer(9 * LARGE)
        with pytest.raises(RequestError, match="as many large requests as it may"):
            await Peer(intake).exchange.hold_answer(LARGE)
        await Peer(intake).exchange.hold_answer(10)

    monkeypatch.setattr(module, "_ROOM_SECONDS", 0.05)
    asyncio.run(run())


def test_an_answer_that_is_not_taken_ends_the_connection(monkeypatch):
    async def run():
        peer = Peer(Intake(LARGE), length=0)
        await peer.exchange.send({"type": "http.response.start", "status": 200, "headers": []})
        peer.takes.clear()
        await peer.exchange.send({"type": "http.response.body", "body": b" " * 200_000})
        assert peer.aborted

    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    asyncio.run(run())


def test_an_early_answer_closes_and_leaves_a_client_time_to_see_it():
    async def run():
        peer = Peer(Intake(LARGE))
        peer.put(10)
        peer.put(10, more=False)
        await peer.exchange.send({"type": "http.response.start", "status": 413, "headers": []})
        await peer.exchange.send({"type": "http.response.body", "body": b"too large"})
        assert (b"connection", b"close") in peer.sent[0]["headers"]
        assert [(m["body"], m.get("more_body", False)) for m in peer.sent[1:]] == [(b"too large", True), (b"", False)]
        assert peer.parts.empty()

    asyncio.run(run())
