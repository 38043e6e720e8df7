"""The Host headers and origins of requests that a web page of another site cannot send."""

import json

import pytest

from echod.http.messages import Request
from echod.http.own_host import is_own_host, refusal_of_page
from echod.model import Peer
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("192.0.2.1", 80), Inet("192.0.2.2", 4000))
OWN = (
    "127.0.0.1",
    "192.0.2.7:80",
    "[::1]:80",
    "::1",
    "[fe80::1%25eth0]:1",
    "localhost",
    "LocalHost.:9",
    "localhost:",
    "",
)
FOREIGN = (
    "x.example",
    "localhost.x.example",
    "127.0.0.1.x.example",
    "a.echo.example",
    "127.0.0.1:x",
    "localhost:80:80",
)


def refusal(**headers: str) -> tuple[int, str] | None:
    """The status and the text of the refusal of a request with these headers."""
    request = Request("GET", "/", {}, headers, b"", PEER)
    found = refusal_of_page(request, ("echo.example",), "admin.hosts")
    if found is None:
        return None
    assert isinstance(found.body, bytes)
    return found.status, json.loads(found.body)["error"]


@pytest.mark.parametrize("host", [*OWN, "echo.example", "ECHO.example.:80"])
def test_addresses_and_own_names_are_allowed(host):
    assert is_own_host(host, ("echo.example",))
    assert refusal(host=host) is None


@pytest.mark.parametrize("host", FOREIGN)
def test_any_other_name_is_refused(host):
    assert not is_own_host(host, ("echo.example",))
    found = refusal(host=host)
    assert found == (
        421,
        f"Host {host} is not allowed: use an IP address, localhost, or a name in admin.hosts",
    )


def test_a_name_of_a_peer_is_escaped():
    found = refusal(host="\x1b[2J")
    assert found is not None
    assert found[1].startswith(r"Host \x1b[2J is not allowed")


def test_a_request_of_another_site_is_refused():
    assert refusal(host="localhost:80", origin="http://localhost:80") is None
    assert refusal(host="localhost:80", origin="http://x.example") == (403, "a page of another site may not read this")
    assert refusal(host="localhost:80", origin="null") == (403, "a page of another site may not read this")
