"""Commands of several workers on this machine, as tests start them; none of them outlives its test."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager

from command_runs import signals_by_default


def free_ports(count):
    """Port numbers that nobody uses now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [held_socket.getsockname()[1] for held_socket in sockets]


@contextmanager
def workers(*arguments_of_each, absent=0, program=("-m", "metaaug_tf.main")):
    """Starts the command as a worker for each list of arguments; kills what is left at the end.

    Args:
        *arguments_of_each: of the workers that are started.
        absent: how many more there are to be, which are not started.
        program: what Python runs.
    """
    names = [f"127.0.0.1:{port}" for port in free_ports(len(arguments_of_each) + absent)]
    processes = []
    try:
        for index, arguments in enumerate(arguments_of_each):
            config = {"cluster": {"worker": names}, "task": {"type": "worker", "index": index}}
            command = [sys.executable, "-u", *program, "--distribution=multi_worker"]
            processes.append(
                subprocess.Popen(
                    [*command, *map(str, arguments)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    preexec_fn=signals_by_default,
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
