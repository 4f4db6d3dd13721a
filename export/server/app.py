"""The web application that answers TensorFlow Serving's REST paths for one model."""

import json
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from metaaug_tf.export.server.rest import RequestError
from metaaug_tf.export.server.served_model import ServedModel


def make_app(model: ServedModel, name: str, max_request_bytes: int) -> Starlette:
    """The application for `model` under `name`.

    Paths, as TensorFlow Serving has them, each also with /versions/N after the name:
        POST /v1/models/NAME:predict
        GET /v1/models/NAME and GET /v1/models/NAME/metadata
    and GET /healthz. Errors are JSON: {"error": "..."}.

    Args:
        model: answers the requests, in threads.
        name: the model's name in the paths.
        max_request_bytes: larger requests get status 413 before they are read in whole.
    """

    def check(request: HttpRequest) -> None:
        params = request.path_params
        if params["name"] != name:
            raise RequestError(f"there is no model {params['name']!r} here, only {name!r}", 404)
        if params.get("version", model.version) != model.version:
            raise RequestError(f"{name!r} has no version {params['version']}, only {model.version}", 404)

    async def predict(request: HttpRequest) -> Response:
        check(request)
        if request.method != "POST":
            raise HTTPException(405, "predict requests are sent with POST", {"Allow": "POST"})
        body = await _bounded_body(request, max_request_bytes)
        return Response(await run_in_threadpool(model.predict, body), media_type="application/json")

    async def status(request: HttpRequest) -> Response:
        check(request)
        ok = {"error_code": "OK", "error_message": ""}
        return JSONResponse({"model_version_status": [{"version": model.version, "state": "AVAILABLE", "status": ok}]})

    async def metadata(request: HttpRequest) -> Response:
        check(request)
        spec = {"name": name, "signature_name": "", "version": model.version}
        return JSONResponse({"model_spec": spec, "metadata": model.metadata()})

    async def health(request: HttpRequest) -> Response:
        return JSONResponse({"status": "ok"})

    routes = [Route("/healthz", health)]
    for path in ("/v1/models/{name}/versions/{version}", "/v1/models/{name}"):
        routes += [
            Route(path + ":predict", predict, methods=["GET", "POST"]),  # GET would match the status path
            Route(path + "/metadata", metadata),
            Route(path, status),
        ]
    handlers: dict[type[Exception], Callable[[HttpRequest, Exception], Awaitable[Response]]] = {
        RequestError: _refuse,
        HTTPException: _refuse_http,
    }
    return Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]


async def _bounded_body(request: HttpRequest, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise RequestError(f"a request may hold at most {limit} bytes", 413)
        parts.append(part)
    return b"".join(parts)


async def _refuse(request: HttpRequest, error: Exception) -> Response:
    return _error(str(error), getattr(error, "status", 400))


async def _refuse_http(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _error(message, error.status_code)


def _error(message: str, status: int) -> Response:
    return Response(json.dumps({"error": message}), status, media_type="application/json")
