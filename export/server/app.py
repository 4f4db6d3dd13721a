"""The web application that answers TensorFlow Serving's REST paths for one model."""

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from metaaug_tf.export.server.batcher import Batcher, Finished, Job, LaneFull
from metaaug_tf.export.server.intake import ClientGone, Exchange, Intake
from metaaug_tf.export.server.metrics import CONTENT_TYPE, Metrics
from metaaug_tf.export.server.rest import RequestError
from metaaug_tf.export.server.served_model import ServedModel, request_error
from metaaug_tf.export.server.versions import Versions

# Longer bodies are read in a thread, one at a time: some hundred milliseconds and some hundred MiB for the largest.
_READ_AT_ONCE = 2**16
# Only what takes longer is stopped: where its client hangs up, or at the deadline.
_WATCHED_AFTER_SECONDS = 0.1
_LONGEST_MESSAGE = 1000
_CLIENT_GONE = 499  # in the metrics alone; nginx's number
_log = logging.getLogger(__name__)


class App:
    """The ASGI application for one model.

    Paths, as TensorFlow Serving has them, each also with /versions/N after the name:
        POST /v1/models/NAME:predict
        GET /v1/models/NAME and GET /v1/models/NAME/metadata
    and GET /healthz, /readyz and /metrics. Errors are JSON, {"error": "..."}, with a status of 4xx or 503.
    """

    def __init__(
        self,
        versions: Versions,
        name: str,
        max_request_bytes: int,
        max_batch: int,
        deadline_seconds: float,
        hosts: Collection[str] | None,
    ):
        """Starts the threads that compute; answers requests once it runs in an event loop.

        Args:
            versions: of the model.
            name: the model's name in the paths.
            max_request_bytes: the largest body.
            max_batch: most examples that are computed at once.
            deadline_seconds: within which a request is computed once it has been sent, or gets 503.
            hosts: names with a dot by which requests may call this server, see wrong_host.
        """
        self._stopping = False
        self._versions, self._name, self._deadline, self._hosts = versions, name, deadline_seconds, hosts
        self._loop: asyncio.AbstractEventLoop | None = None
        # Answers that are waited for, oldest first, and the tasks that look whether the clients are still there.
        self._waiting: dict[asyncio.Future, tuple[Exchange, float]] = {}
        self._watchers: dict[asyncio.Future, asyncio.Task] = {}
        self._intake, self._metrics = Intake(max_request_bytes), Metrics()
        self._batcher = Batcher(self._deliver, max_batch, self._metrics.called)
        self._reader = ThreadPoolExecutor(1, "reads requests")
        watch = self._metrics.watch
        watch("metaaug_waiting", "Requests that wait in a lane", self._batcher.waiting, "lane")
        watch("metaaug_held_bytes", "Beyond the first 64 KiB of each request", self._intake.held, "of")
        watch("metaaug_served", "1 for the version served", lambda: {versions.current.version: 1}, "version")
        watch("metaaug_failed_loads", "New versions that failed to load", lambda: {"all": versions.failed}, "of")
        routes = []
        for path in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
            routes += [
                Route(path + ":predict", self._predict, methods=["GET", "POST"]),  # GET would match the status path
                Route(path + "/metadata", self._metadata),
                Route(path, self._status),
            ]
        routes += [Route("/healthz", self._health), Route("/readyz", self._ready), Route("/metrics", self._counts)]
        self._routes = Router(routes, redirect_slashes=False)

    def stop(self) -> None:
        """Begins the end: /readyz says so, and connections are closed after their answers."""
        self._stopping = True
        self._intake.stop()

    def close(self) -> bool:
        """Ends the threads; whether those that compute have ended."""
        self._versions.close()
        self._reader.shutdown(wait=False, cancel_futures=True)
        return self._batcher.close()

    def tick(self) -> None:
        """Looks after what takes long: bodies, clients that hang up, deadlines; to be called some times a second."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._intake.tick(now)
        for answer, (exchange, start) in self._waiting.items():
            if now - start < _WATCHED_AFTER_SECONDS:
                break
            if answer not in self._watchers:
                self._watchers[answer] = loop.create_task(_watch(exchange, answer))
            if now - start > self._deadline:
                message = f"not computed within {self._deadline:g} s; ask again later or for less"
                _fail(answer, RequestError(message, 503, retry_after=5))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, whatever happens meanwhile."""
        started = time.perf_counter()
        exchange = Exchange(scope, receive, send, self._intake, self._stopping)
        scope["exchange"] = exchange
        scope["app"] = self  # lets the router raise what it finds wrong
        try:
            self._check_host(exchange)
            await self._routes(scope, exchange.receive, exchange.send)
        except ClientGone:
            pass
        except (Exception, asyncio.CancelledError) as error:
            rejection = _rejection(error, scope)
            if exchange.status:  # it is too late for another answer
                exchange.abort()
            else:
                await rejection(scope, exchange.receive, exchange.send)
        finally:
            exchange.release()
        seconds = time.perf_counter() - started
        self._metrics.answered(exchange.status or _CLIENT_GONE, seconds, scope["path"].endswith(":predict"))

    def _check_host(self, exchange: Exchange) -> None:
        if (wrong := wrong_host(exchange.headers.get(b"host", b"").decode("latin-1"), self._hosts)) is not None:
            raise RequestError(f"this server is not known as {wrong!r}; --allowed_hosts can change that", 421)

    def _model(self, request: HttpRequest) -> ServedModel:
        model, params = self._versions.current, request.path_params
        if params["name"] != self._name:
            raise RequestError(f"there is no model {params['name']!r} here, only {self._name!r}", 404)
        if params.get("version", model.version) != model.version:
            raise RequestError(f"{self._name!r} has no version {params['version']!r}, only {model.version}", 404)
        return model

    async def _predict(self, request: HttpRequest) -> Response:
        model, exchange = self._model(request), request.scope["exchange"]
        if request.method != "POST":
            raise HTTPException(405, "predict requests are sent with POST", {"Allow": "POST"})
        body = await exchange.body()
        if len(body) <= _READ_AT_ONCE:
            job = model.job(body)
        else:
            job = await asyncio.get_running_loop().run_in_executor(self._reader, model.job, body)
        del body
        await exchange.hold_answer(job.answer_bytes)
        return Response(await self._computed(job, exchange), media_type="application/json")

    async def _computed(self, job: Job, exchange: Exchange) -> bytes:
        """The job's answer as JSON."""
        loop = self._loop = asyncio.get_running_loop()
        answer = job.handle = loop.create_future()
        try:
            self._batcher.submit(job)
        except LaneFull as error:
            raise RequestError("too many requests are waiting; ask again later", 503, retry_after=1) from error
        self._waiting[answer] = exchange, loop.time()
        try:
            return await answer
        except tf.errors.InvalidArgumentError as error:
            raise request_error(error, job.done) from error
        except tf.errors.OpError as error:
            _log.error("a call of the model failed: %s", error.message[:_LONGEST_MESSAGE])
            raise RequestError("the model can't be computed at the moment", 503, retry_after=5) from error
        finally:
            job.cancelled = True
            del self._waiting[answer]
            if (watcher := self._watchers.pop(answer, None)) is not None:
                watcher.cancel()

    def _deliver(self, finished: Finished) -> None:
        """Hands answers from a lane's thread to the event loop."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_settle, finished)

    async def _status(self, request: HttpRequest) -> Response:
        ok = {"error_code": "OK", "error_message": ""}
        state = {"version": self._model(request).version, "state": "AVAILABLE", "status": ok}
        return JSONResponse({"model_version_status": [state]})

    async def _metadata(self, request: HttpRequest) -> Response:
        model = self._model(request)
        spec = {"name": self._name, "signature_name": "", "version": model.version}
        return JSONResponse({"model_spec": spec, "metadata": model.metadata()})

    async def _health(self, request: HttpRequest) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: HttpRequest) -> Response:
        if trouble := "the server is stopping" if self._stopping else self._batcher.trouble():
            raise RequestError(trouble, 503)
        return JSONResponse({"status": "ready", "version": self._versions.current.version})

    async def _counts(self, request: HttpRequest) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)


def wrong_host(host: str, allowed: Collection[str] | None) -> str | None:
    """The name in a Host header if it may not be used; None if it may.

    A web page can have a browser send requests to 127.0.0.1 by a name that it lets lead there (DNS rebinding); that
    name has a dot, as all in the public DNS have, and is no address.

    Args:
        host: value of the header, with or without a port.
        allowed: names with a dot that may be used; None allows all.
    """
    name = (host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]).rstrip(".").lower()
    if allowed is None or "." not in name or name in allowed:
        return None
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name
    return None


def _settle(finished: Finished) -> None:
    for job, answer in finished:
        if job.handle.done():
            continue
        if isinstance(answer, BaseException):
            _fail(job.handle, answer)
        else:
            job.handle.set_result(answer)


def _fail(answer: asyncio.Future, error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))


async def _watch(exchange: Exchange, answer: asyncio.Future) -> None:
    """Ends the waiting for an answer where the client hangs up."""
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    _fail(answer, ClientGone())


def _rejection(error: BaseException, scope: Scope) -> Response:
    """The answer to a request that failed so."""
    if isinstance(error, HTTPException):  # of the router
        text, status, headers = f"{scope['method']} {scope['path']}: {error.detail}", error.status_code, error.headers
    elif isinstance(error, RequestError):
        text, status = str(error), error.status
        headers = None if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    elif isinstance(error, asyncio.CancelledError):
        text, status, headers = "the server is stopping", 503, None
    else:
        _log.error("%s %s failed: %r", scope["method"], scope["path"][:200], error)
        text, status, headers = "the server failed to answer this request", 503, None
    return JSONResponse({"error": text[:_LONGEST_MESSAGE]}, status, headers)
