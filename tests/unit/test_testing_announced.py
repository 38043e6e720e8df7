"""The listeners of an announcement, and their addresses for a socket."""

import json

import pytest

from echod.testing.announced import Listener, inet_of, listeners_of


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("unix:///run/a%20b.sock", "/run/a b.sock"),
        ("unix-dgram:///run/%FF", "/run/\udcff"),
        ("unix://@name", "\0name"),
    ],
    ids=["path", "bytes", "abstract"],
)
def test_the_path_of_a_unix_socket(url, path):
    listener = Listener("echo", "echo", url)
    assert (listener.is_path, listener.path) == (True, path)
    with pytest.raises(LookupError, match=r"has no host and port; expected \.path"):
        _ = listener.address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("tcp://127.0.0.1:7", ("127.0.0.1", 7)),
        ("udp://[::1]:7", ("::1", 7)),
        ("ws://*:8007/echo", ("127.0.0.1", 8007)),
        ("tcp://[fe80::1%eth0]:7", ("fe80::1%eth0", 7)),
    ],
    ids=["ipv4", "ipv6", "any", "scope"],
)
def test_the_address_of_another_socket(url, address):
    listener = Listener("echo", "echo", url)
    assert (listener.is_path, listener.address) == (False, address)
    with pytest.raises(LookupError, match=r"is not a Unix socket; expected \.address"):
        _ = listener.path


def test_a_url_without_a_port_is_an_error():
    with pytest.raises(ValueError, match="tcp6:7 has no host and port"):
        inet_of("tcp6:7")


def test_the_fields_of_an_announcement():
    fields = {"service": "a", "kind": "echo", "url": "tls://127.0.0.1:7", "names": ["x"], "sha256": "00", "ca": "PEM"}
    assert listeners_of(json.dumps({"version": "1", "listeners": [fields]})) == [
        Listener("a", "echo", "tls://127.0.0.1:7", ("x",), "00", "PEM")
    ]
