"""HOST:PORT as people write it and as sockets take it."""

import pytest

from metaaug_tf.addresses import host_and_port


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host-1.example:5050", ("host-1.example", 5050)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[fe80::2]:65535", ("fe80::2", 65535)),
    ],
)
def test_hosts_and_ports(text, found):
    assert host_and_port(text) == found


@pytest.mark.parametrize(
    "text", ["", "host", ":80", "host:", "host:x", "host:0", "host:65536", "a b:1", "::1:80", "a:1 "]
)
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match="must be HOST:PORT with a port from 1 to 65535"):
        host_and_port(text)


def test_the_ports_allowed_may_be_others():
    assert host_and_port("host:0", range(9)) == ("host", 0)
    with pytest.raises(ValueError, match="from 0 to 8, got 'host:9'"):
        host_and_port("host:9", range(9))
