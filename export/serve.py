"""Serves an export over HTTP on TensorFlow Serving's REST protocol, for machines without TensorFlow Serving.

python -m metaaug_tf.export.serve --model=runs/demo/export/task --port=8501
"""

import argparse
import sys
from pathlib import Path

from metaaug_tf.errors import UserError
from metaaug_tf.quiet import quiet_stderr

_MIB = 2**20


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
    parser.add_argument("--port", type=int, default=8501, help="TCP port to listen at")
    parser.add_argument("--max_request_mib", type=float, default=16.0, help="largest request in MiB")
    parser.add_argument("--max_batch", type=int, default=128, help="most examples in a request")
    return parser


def serve(arguments: argparse.Namespace) -> None:
    """Loads the model and answers requests until it is interrupted.

    Raises:
        UserError: there is no such export, or the web server's packages are not installed.
    """
    try:
        with quiet_stderr():
            import tensorflow as tf
            import uvicorn

            tf.config.list_physical_devices()
            from metaaug_tf.export.server.app import make_app
            from metaaug_tf.export.server.served_model import ServedModel, find_version
    except ModuleNotFoundError as error:
        raise UserError(
            f"the server needs {error.name}: python -m pip install 'metaaug_tf[serve]' (starlette and uvicorn)"
        ) from error
    folder = find_version(arguments.model)
    name = arguments.name or (folder.parent.name if folder.name.isdigit() else folder.name)
    app = make_app(ServedModel(folder, arguments.max_batch), name, int(arguments.max_request_mib * _MIB))
    print(f"serving {folder} at http://{arguments.host}:{arguments.port}/v1/models/{name}:predict", flush=True)
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", access_log=False)


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
