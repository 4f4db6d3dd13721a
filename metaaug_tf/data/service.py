"""Training batches made on other machines by tf.data services, for where one machine's cores don't feed its GPUs.

    python -m metaaug_tf.data.service --address=HOST:5050

on every machine that helps, HOST being its name in the network; the training finds them by
--config.data_service=HOST:5050,HOST2:5050. The files of the dataset must be under the same path on all of them. gRPC
is neither encrypted nor asks who calls, so this is for a network whose machines trust each other.
"""

import argparse
import contextlib
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from metaaug_tf.addresses import host_and_port
from metaaug_tf.errors import UserError

_CONNECT_SECONDS = 5


def start(host: str, port: int):
    """Starts a dispatcher and one worker, which listen on all interfaces, in threads of this process.

    Args:
        host: the name under which the training reaches this machine.
        port: of the dispatcher; the worker takes the one after it. 0: any two that are free.

    Returns:
        (dispatcher, worker) of tf.data.experimental.service; they serve as long as they are kept.

    Raises:
        UserError: a port can't be had.
    """
    for wanted in (port, port + 1) if port else ():
        _check_free(wanted)  # gRPC would share a port with another process that uses it
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
    own = dispatcher.target.removeprefix("grpc://")
    name = f"[{host}]" if ":" in host else host
    config = service.WorkerConfig(own, worker_address=f"{name}:%port%", port=port + 1 if port else 0)
    return dispatcher, service.WorkerServer(config)


def _check_free(port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended don't count
            probe.bind(("", port))
    except OSError as error:
        raise UserError(
            f"port {port} can't be listened on: {error.strerror}. Give another; a service takes a port and the next one"
        ) from error


def reachable_services(text: str) -> list[str]:
    """The services in a comma-separated list of HOST:PORT, each seen to answer; none in "".

    Raises:
        UserError: no such list, or nothing listens at one of them.
    """
    addresses = [address.strip() for address in text.split(",")] if text else []
    for address in addresses:
        try:
            socket.create_connection(_host_and_port(address), _CONNECT_SECONDS).close()
        except OSError as error:
            raise UserError(
                f"no tf.data service answers at {address} ({error}): start it there with "
                f"`python -m metaaug_tf.data.service --address={address}`, or leave it out of --config.data_service"
            ) from error
    return addresses


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        return host_and_port(address, range(2**16 - 1))  # the next port is the worker's
    except ValueError as error:
        raise UserError(f"a tf.data service must be HOST:PORT, for example localhost:5050, got {address!r}") from error


@contextlib.contextmanager
def lost_service_reported() -> Iterator[None]:
    """Turns TensorFlow's error about a restarted service into a UserError; other errors pass.

    While a service is gone, TensorFlow waits for it. A restarted one would begin with the first batch again and so give
    wrong ones, which TensorFlow notices.

    Raises:
        UserError: says how to resume.
    """
    try:
        yield
    except tf.errors.NotFoundError as error:
        if "iteration client id" not in error.message:
            raise
        raise UserError(
            "a tf.data service in --config.data_service was restarted; the batches it was making are lost. The same "
            "command resumes from the newest checkpoint"
        ) from error


def map_elsewhere(batches: tf.data.Dataset, make: Callable, addresses: Sequence[str]) -> tf.data.Dataset:
    """batches.map(make), made by the services in turn: the first makes the first batch, the second the second one.

    So the results and their order are those of a map in this process, however many services there are and however
    quick each is. Every service runs `batches` as a whole and leaves out what is not its turn, which costs little
    where `batches` are indices or records that are not decoded yet.

    Args:
        batches: all it and `make` capture is sent to the services, so it must be values, not variables.
        make: element of `batches` -> element of the result.
        addresses: HOST:PORT of each service, at least one.
    """
    service = tf.data.experimental.service
    parts = []
    for index, address in enumerate(addresses):
        own = batches.shard(len(addresses), index).map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        # Augmented photographs hardly compress.
        send = service.distribute(service.ShardingPolicy.OFF, f"grpc://{address}", compression=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that options aren't known while a graph is made
            parts.append(own.apply(send))
    return tf.data.Dataset.choose_from_datasets(parts, tf.data.Dataset.range(len(parts)).repeat())


def main() -> None:
    """Serves until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="HOST:PORT; PORT + 1 is needed too")
    address = parser.parse_args().address
    try:
        _servers = start(*_host_and_port(address))
    except UserError as error:
        parser.exit(2, f"metaaug_tf.data.service: {error}\n")
    print(f"serving batches at {address}; Ctrl-C ends it", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    main()
