"""uvicorn with bounds on what it leaves open: connections, heads of requests, the end.

Its httptools parser takes a third of the CPU of its h11 parser (0.06 against 0.15 ms a request).
"""

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from metaaug_tf.errors import UserError

# To send the next request's head, from the connection's start or the last answer on.
HEAD_SECONDS = 20
_MAX_HEAD_BYTES, _MAX_PIPELINED = 2**16, 64
_ACCEPTED_AT_ONCE, _BACKLOG = 16, 1024
# Files for all else, and for connections that were accepted while others are being closed for them.
_MAX_CONNECTIONS, _SPARE_FILES = 1000, 64 + 8 * _ACCEPTED_AT_ONCE
# At the end: to accept who waits already, to tell busy clients to close, and to drop the rest. Orchestrators wait 30 s.
_LAST_ACCEPT_SECONDS, _FAREWELL_SECONDS, _GRACE_SECONDS = 0.5, 1.0, 20
# Of linux/filter.h and asm/socket.h; Python has no names for them.
_BPF_RETURN, _SO_ATTACH_FILTER = 0x06, 26


class _State(ServerState):
    """As uvicorn's, with the connections that wait for a request's head and the time since when, oldest first."""

    def __init__(self):
        super().__init__()
        self.idle: dict[_Connection, float] = {}
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.max_connections = max(16, min(_MAX_CONNECTIONS, files - _SPARE_FILES))

    def drop_oldest(self) -> None:
        """Makes room for a new connection."""
        oldest = next(iter(self.idle))
        del self.idle[oldest]  # it is lost a little later, and others may need room before
        oldest.transport.abort()


class _Connection(HttpToolsProtocol):
    """A connection that is closed if the next request's head does not come in time or is too large."""

    server_state: _State
    _in_head, _head_bytes = False, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._await_head()
        if len(self.connections) > self.server_state.max_connections:
            self.server_state.drop_oldest()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        began_before = self._in_head
        super().data_received(data)
        if self._in_head and began_before:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._reject(431, "the head of the request is too large")

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what follows a body is not read by anyone
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self.server_state.idle.pop(self, None)
        if len(self.pipeline) >= _MAX_PIPELINED:
            self.transport.abort()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_head()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.is_closing() or self.transport.get_write_buffer_size():  # the client does not read
            self.transport.abort()
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._reject(400, "the request is not valid HTTP")

    def _reject(self, status: int, text: str) -> None:
        body = json.dumps({"error": text}).encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()

    def _await_head(self) -> None:
        self.server_state.idle.pop(self, None)
        self.server_state.idle[self] = self.loop.time()


class Server(uvicorn.Server):
    """uvicorn's server for one application, on a socket that is bound already."""

    def __init__(self, app: Any, started: Callable[[], None], tick: Callable[[], None], stopping: Callable[[], None]):
        """Nothing is listened to yet.

        Args:
            app: ASGI application.
            started: called once requests can be sent.
            tick: called ten times a second.
            stopping: called when the end begins.
        """
        config = uvicorn.Config(
            app,
            http=_Connection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            backlog=_ACCEPTED_AT_ONCE,
            timeout_keep_alive=HEAD_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            log_level="error",
            access_log=False,
            server_header=False,
        )
        super().__init__(config)
        self.server_state: _State = _State()
        self._started, self._tick, self._stopping = started, tick, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        for bound in sockets or []:
            bound.listen(_BACKLOG)  # as many may wait; uvicorn's own setting is also how many are accepted at once
        self._started()

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's; drops connections whose next request takes too long to begin."""
        now = asyncio.get_running_loop().time()
        for connection, since in list(self.server_state.idle.items()):
            if now - since < HEAD_SECONDS:
                break
            connection.timeout_keep_alive_handler()
        self._tick()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers what is under way, tells clients that come again on open connections to close them, and ends."""
        self._stopping()
        await _accept_waiting(sockets or [])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + _FAREWELL_SECONDS
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins the end; the second signal is the end."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising them again at the end: having been told to stop is no failure."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def _accept_waiting(sockets: list[socket.socket]) -> None:
    """Lets the event loop accept connections that wait: closing the socket would reset them."""
    for bound in sockets:
        _take_no_more(bound)
    loop = asyncio.get_running_loop()
    end = loop.time() + _LAST_ACCEPT_SECONDS
    while loop.time() < end and select.select(sockets, [], [], 0)[0]:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)  # asyncio makes a task for each, which fails once the server is closed


def _take_no_more(bound: socket.socket) -> None:
    """Drops what asks for a connection from now on, so that none comes between the last accept and the close.

    Whoever asked tries again a second later and finds the port closed. Linux has no other way to stop listening: a
    filter of one instruction, "accept 0 bytes of the packet" (socket(7), SO_ATTACH_FILTER).
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):  # a sandbox may forbid it; then a few connections may be reset at the end
        accept_nothing = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
        program = struct.pack("HP", 1, ctypes.addressof(accept_nothing))
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket bound to an address, not listening yet.

    Args:
        host: name or address of this machine.
        port: 0 takes a free one.

    Raises:
        UserError: it can't be bound; says why.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host must be a name or address of this machine, got {host!r}: {error}") from error
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise UserError(
            f"port {port} of {host} can't be used: {error.strerror}; choose another --port or --host"
        ) from error
    return bound
