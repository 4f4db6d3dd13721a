"""Takes in requests and gives out answers within bounds of size, time and memory.

uvicorn and Starlette bound none of these: a client that stops in the middle of a body, or of an answer, would be kept.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Message, Receive, Scope, Send

from metaaug_tf.export.server.rest import RequestError

# To send a whole body, and to take a whole answer: 16 MiB in 30 s are 4.5 Mbit/s.
BODY_SECONDS, ANSWER_SECONDS = 30.0, 30.0
# All bodies together, and all answers, in sizes of the largest request; 128 MiB with 16 MiB.
_LARGEST_AT_ONCE = 8
# What is not counted of each, so that large ones never keep small ones out.
_UNCOUNTED = 2**16
_PIECE = 2**16
_ROOM_SECONDS = 15.0
_LAST_SECONDS = 5.0
# After an early rejection a client may still be sending; closed at once, it might not see the answer.
_LINGER_SECONDS = 2.0
_CLOSE = (b"connection", b"close")


class ClientGone(Exception):
    """The client has hung up; nobody is there to answer."""


def no_room() -> RequestError:
    """The error for what can't be held at the moment."""
    return RequestError("the server holds as many large requests as it may; ask again later", 503, retry_after=5)


class _Pool:
    """Bytes that all exchanges hold together, beyond the first 64 KiB of each."""

    def __init__(self, size: int):
        self.held, self._size, self._changed = 0, size, asyncio.Event()

    def full(self) -> bool:
        return self.held >= self._size

    def changed(self) -> None:
        """Wakes those who wait for room."""
        self._changed.set()

    async def room(self, let_in: Callable[[], bool] = lambda: False) -> None:
        """Waits until the pool is not full, or `let_in()`; raises RequestError 503 if that takes too long."""
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                while self.full() and not let_in():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise no_room() from error


class _Share:
    """What one exchange holds of a pool."""

    def __init__(self, pool: _Pool):
        self._pool, self._size = pool, 0

    def add(self, size: int) -> None:
        before, self._size = self._size, self._size + size
        if counted := max(0, self._size - _UNCOUNTED) - max(0, before - _UNCOUNTED):
            self._pool.held += counted
            self._pool.changed()

    def release(self) -> None:
        self.add(-self._size)


class Intake:
    """What all requests and answers hold together.

    Attributes:
        max_request_bytes: the largest body.
        bodies: what bodies hold, from their first byte until their answer is sent.
        answers: what answers hold, from before they are computed on.
        reading: exchanges whose body is being sent, with the time of its start, oldest first.
    """

    def __init__(self, max_request_bytes: int):
        """Nothing is held yet."""
        self.max_request_bytes = max_request_bytes
        self.bodies = _Pool(_LARGEST_AT_ONCE * max_request_bytes)
        self.answers = _Pool(_LARGEST_AT_ONCE * max_request_bytes)
        self.reading: dict[Exchange, float] = {}

    def held(self) -> dict[str, float]:
        """Bytes held by kind, for metrics."""
        return {"bodies": self.bodies.held, "answers": self.answers.held}

    def tick(self, now: float) -> None:
        """Drops the clients that have been sending a body for too long; to be called often."""
        for exchange, start in list(self.reading.items()):
            if now - start < BODY_SECONDS:
                return
            exchange.abort()

    def stop(self) -> None:
        """Leaves the bodies that are being sent a few seconds."""
        asyncio.get_running_loop().call_later(_LAST_SECONDS, self._abort_all)

    def _abort_all(self) -> None:
        for exchange in list(self.reading):
            exchange.abort()


class Exchange:
    """One request and its answer, between uvicorn and the application.

    Attributes:
        status: HTTP status of the answer, 0 before it starts.
        headers: of the request; the last of each name.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, intake: Intake, closing: bool):
        """Nothing is received or sent yet.

        Args:
            scope: of ASGI; its state holds `abort`, which ends the connection.
            receive: of ASGI.
            send: of ASGI.
            intake: what others hold.
            closing: whether the connection is to be closed after the answer.
        """
        self.status = 0
        self._scope, self._receive, self._send = scope, receive, send
        self._intake, self._closing, self._aborted = intake, closing, False
        self._body, self._answer = _Share(intake.bodies), _Share(intake.answers)
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._length = int(self.headers.get(b"content-length", 0))
        self._unread = self._length > 0 or b"transfer-encoding" in self.headers

    async def body(self) -> bytearray:
        """The request's body, which counts as held until `release`.

        Where too much is held by all together, it is not read until there is room. A client that sends too slowly is
        dropped without an answer.

        Raises:
            RequestError: 413 too large, 503 too much is held by others.
            ClientGone: the client has hung up, or was dropped.
        """
        if self._length > self._intake.max_request_bytes:
            raise self._too_large()
        if self._length > _UNCOUNTED and self._intake.bodies.full():
            raise no_room()
        body = bytearray()
        if self._unread:
            self._intake.reading[self] = asyncio.get_running_loop().time()
            try:
                while self._unread:
                    await self._read(body)
            finally:
                del self._intake.reading[self]
                self._intake.bodies.changed()
        return body

    async def _read(self, body: bytearray) -> None:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message["body"]
        body += part
        if len(body) > self._intake.max_request_bytes:
            raise self._too_large()
        self._body.add(len(part))
        if self._unread and len(body) > _UNCOUNTED:
            await self._intake.bodies.room(self._goes_first)

    def _goes_first(self) -> bool:
        """Whether it need not wait: someone must be able to finish."""
        return self._aborted or next(iter(self._intake.reading)) is self

    async def hold_answer(self, size: int) -> None:
        """Counts an answer as held, once there is room.

        Raises:
            RequestError: 503, too much is held by others for too long.
        """
        if size > _UNCOUNTED:
            await self._intake.answers.room()
        self._answer.add(size)

    def release(self) -> None:
        """Counts nothing of this exchange any more."""
        self._body.release()
        self._answer.release()

    def abort(self) -> None:
        """Ends the connection at once."""
        self._aborted = True
        self._scope["state"]["abort"]()
        self._intake.bodies.changed()

    async def receive(self) -> Message:
        """As ASGI's receive."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        """As ASGI's send, but closes the connection where the body was not read, or the answer is not taken in time."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._closing |= self._unread
            if self._closing:
                message = {**message, "headers": [*message.get("headers", []), _CLOSE]}
        elif message["type"] == "http.response.body" and (self._unread or len(message.get("body", b"")) > _PIECE):
            await self._send_in_pieces(message.get("body", b""))
            message = {**message, "body": b""}
        await self._send(message)

    async def _send_in_pieces(self, body: bytes) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for start in range(0, len(body), _PIECE):
                    piece = body[start : start + _PIECE]
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            self.abort()
        else:
            await self._discard_rest()

    async def _discard_rest(self) -> None:
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while self._unread and not self._aborted:
                    await self.receive()
        except TimeoutError:
            pass

    def _too_large(self) -> RequestError:
        return RequestError(f"a request may hold at most {self._intake.max_request_bytes} bytes", 413)
