"""Commands of several workers on this machine, as tests start them; none of them outlives its test."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager


def free_ports(count):
    """Port numbers that nobody uses now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [held_socket.getsockname()[1] for held_socket in sockets]


@contextmanager
def workers(*arguments_of_each, code=None):
    """Starts a worker for each list of arguments of the command (or of the code); kills what is left at the end."""
    names = [f"127.0.0.1:{port}" for port in free_ports(len(arguments_of_each))]
    processes = []
    try:
        for index, arguments in enumerate(arguments_of_each):
            config = {"cluster": {"worker": names}, "task": {"type": "worker", "index": index}}
            what = ["-c", code] if code else ["-m", "metaaug_tf.main", "--distribution=multi_worker"]
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-u", *what, *map(str, arguments)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "2"},
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()  # waiting for others, workers ignore SIGTERM
            process.wait()
            process.stdout.close()
            process.stderr.close()


def ends(processes, seconds=300):
    """(exit code, output, errors) of each, in the order given."""
    found = []
    for process in processes:
        output, errors = process.communicate(timeout=seconds)
        found.append((process.returncode, output, errors))
    return found
