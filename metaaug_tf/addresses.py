"""Network addresses as people write them: HOST:PORT, with an IPv6 host in brackets."""

import re

_ADDRESS = re.compile(r"([^\s:/]+|\[[0-9a-fA-F:]+\]):(\d+)")


def host_and_port(address: str, ports: range = range(1, 2**16)) -> tuple[str, int]:
    """Returns an address as sockets take it: "[::1]:80" is ("::1", 80).

    Raises:
        ValueError: it is not HOST:PORT with one of the ports.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[2]) not in ports:
        raise ValueError(f"an address must be HOST:PORT with a port from {ports[0]} to {ports[-1]}, got {address!r}")
    return match[1].strip("[]"), int(match[2])
