"""Serves an export over HTTP on TensorFlow Serving's REST protocol, for machines without TensorFlow Serving.

python -m metaaug_tf.export.serve --model=runs/demo/export/task --port=8501
"""

import argparse
import contextlib
import gc
import ipaddress
import logging
import math
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from metaaug_tf.errors import UserError
from metaaug_tf.quiet import quiet_stderr

_MIB = 2**20
# The lanes of server/batcher.py must be able to run at the same time, also where there is one core.
_TENSORFLOW_THREADS = 4


def make_parser() -> argparse.ArgumentParser:
    """The command line's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m metaaug_tf.export.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, required=True, help="an export's folder, e.g. runs/demo/export/task")
    parser.add_argument("--name", help="the model's name in the paths; by default that of the export (task)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=8501, help="TCP port to listen at; 0 takes a free one")
    parser.add_argument("--max_request_mib", type=float, default=16.0, help="largest request in MiB")
    parser.add_argument("--max_batch", type=int, default=128, help="most examples in a request")
    parser.add_argument(
        "--max_request_pixels", type=int, default=2**27, help="most pixels of a request's images together"
    )
    parser.add_argument(
        "--deadline_seconds", type=float, default=30.0, help="a request that takes longer to compute gets status 503"
    )
    parser.add_argument(
        "--allowed_hosts", default="", help="names with a dot by which a server on loopback may be called, by commas"
    )
    return parser


def check_flags(arguments: argparse.Namespace) -> None:
    """Raises UserError for a flag's value that makes no server."""

    def require(name: str, right: Callable[[float], bool], allowed: str) -> None:
        value = getattr(arguments, name)
        if not (math.isfinite(value) and right(value)):
            raise UserError(f"--{name} must be {allowed}, got {value}")

    require("port", lambda value: 0 <= value <= 65535, "from 0 to 65535")
    require("max_request_mib", lambda value: 0 < value <= 1024, "above 0 and at most 1024")
    require("max_batch", lambda value: value >= 1, "at least 1")
    require("max_request_pixels", lambda value: value >= 1, "at least 1")
    require("deadline_seconds", lambda value: value > 0, "a number above 0")


def serve(arguments: argparse.Namespace) -> None:
    """Loads the model and answers requests until it is told to stop.

    Raises:
        UserError: a flag is wrong, there is no such export, or the web server's packages are not installed.
    """
    check_flags(arguments)
    try:
        with quiet_stderr():
            from metaaug_tf.export.server.engine import Server, bind

            bound = bind(arguments.host, arguments.port)
            import tensorflow as tf

            tf.config.threading.set_inter_op_parallelism_threads(_TENSORFLOW_THREADS)
            tf.config.list_physical_devices()
            from metaaug_tf.export.server.app import App
            from metaaug_tf.export.server.served_model import Limits, ServedModel
            from metaaug_tf.export.server.versions import Versions
    except ModuleNotFoundError as error:
        raise UserError(
            f"the server needs {error.name}: python -m pip install 'metaaug_tf[serve]' "
            "(starlette, uvicorn, httptools, orjson, prometheus-client)"
        ) from error
    logging.basicConfig(format="metaaug_tf: %(message)s")
    limits = Limits(arguments.max_batch, arguments.max_request_pixels)
    versions = Versions(arguments.model, lambda path: ServedModel(path, limits))
    folder = versions.current.path
    name = arguments.name or (folder.parent.name if folder.name.isdigit() else folder.name)
    hosts = frozenset(arguments.allowed_hosts.lower().split(",")) if _is_loopback(bound) else None
    app = App(
        versions,
        name,
        max_request_bytes=int(arguments.max_request_mib * _MIB),
        max_batch=arguments.max_batch,
        deadline_seconds=arguments.deadline_seconds,
        hosts=hosts,
    )

    def say() -> None:
        versions.follow()
        with contextlib.suppress(OSError):  # nobody reads what is printed
            host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
            print(f"serving {folder} at http://{host}:{bound.getsockname()[1]}/v1/models/{name}:predict", flush=True)

    gc.freeze()  # TensorFlow's million objects need not be looked at again and again
    try:
        Server(app, started=say, tick=app.tick, stopping=app.stop).run(sockets=[bound])
    except OSError as error:
        raise UserError(f"port {arguments.port} can't be listened at: {error}; choose another --port") from error
    finally:
        ended = app.close()
    if not ended:  # the interpreter's end would pull TensorFlow away from under a call
        sys.stdout.flush()
        os._exit(0)


def _is_loopback(bound: socket.socket) -> bool:
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def main() -> int:
    """Runs the command line; returns the exit code, 2 for bad input."""
    try:
        serve(make_parser().parse_args())
    except UserError as error:
        print(f"metaaug_tf: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
