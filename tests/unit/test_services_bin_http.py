"""Bin over HTTP: requests as bytes, responses as bytes, and the faults that each chooses."""

from __future__ import annotations

import json

import pytest
from twisted.internet.task import Clock

from echod.faults.settings import NO_FAULTS, Faults
from echod.http.messages import Request as HTTPRequest
from echod.model import Context, Peer
from echod.services.bin import Bin
from echod.services.bin_http import requested, response
from echod.services.bin_request import MOST, Bounds, Request, RequestError, of_pairs
from echod.socket_names import Inet

BOUNDS = Bounds(size=20)
ENDS = Inet("127.0.0.1", 7), Inet("192.0.2.1", 40_000)


def asked(target="/", body=b"", method="GET", **headers):
    path, _, query = target.partition("?")
    return HTTPRequest(method, path, {}, headers, body, Peer("http", *ENDS), query)


def answer(target="/", body=b"", **headers):
    request = asked(target, body, **headers)
    return response(requested(request, BOUNDS), request)


class Client:
    """A session over HTTP, and the faults that its requests have chosen."""

    def __init__(self, choose=True):
        clock, self.chosen, self.sent = Clock(), [], b""
        peer = Peer("http", *ENDS, choose_faults=self.chosen.append if choose else None)
        self.session = Bin(context=Context(clock=clock.seconds)).session(peer, self.take)

    def take(self, reply):
        self.sent += (reply.data or b"") + b"".join(reply.more or ())

    def says(self, data):
        self.take(self.session.received(data))
        return self


def test_each_request_of_a_connection_chooses_its_faults():
    client = Client().says(b"GET /delay=1s HTTP/1.1\r\nHost: x\r\n\r\n")
    client.says(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.says(b"GET /delay=1h HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.chosen == [Faults(delay=1.0), NO_FAULTS, NO_FAULTS]
    assert client.sent.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert client.sent.endswith(b'{"error": "delay: at most 30s here"}\n')


def test_without_faults_in_the_daemon_a_response_is_sent():
    assert b"HTTP/1.1 299 \r\n" in Client(choose=False).says(b"GET /status=299 HTTP/1.1\r\nHost: x\r\n\r\n").sent


def test_the_path_the_query_and_a_header_are_one_request():
    request = asked("/a/status=404?body=x", **{"echod-bin": "delay=1ms,chunk=1"})
    assert requested(request, BOUNDS) == Request(Faults(delay=0.001, chunk=1), status=404, body="x")
    with pytest.raises(RequestError, match="status: appears twice"):
        requested(asked("/status=404?status=405"), BOUNDS)
    with pytest.raises(RequestError, match=f"more than {MOST} keys"):
        of_pairs([("header", "A: b")] * (MOST + 1), BOUNDS, http=True)
    with pytest.raises(RequestError, match=f"more than {MOST} keys"):
        requested(asked("/?" + "&".join(["a=1"] * (MOST + 1))), BOUNDS)


def test_the_body_is_the_chosen_one_or_the_pattern_or_that_of_the_request():
    assert answer("/?body=hello&size=3", b"x").body is not None
    assert b"".join(answer("/?size=3").body) == b' !"'
    assert ("content-length", "3") in answer("/?size=3").headers
    assert answer("/?body=hello", b"x").body == b"hello"
    assert answer("/", b"x").body == b"x"
    assert answer("/status=304?body=x").body == b""


def test_a_request_without_a_body_is_described_without_credentials():
    made = answer("/a?seed=1", host="h", cookie="secret")
    assert made.content_type == "application/json"
    assert json.loads(made.body) == {"method": "GET", "path": "/a", "query": "seed=1", "headers": {"host": "h"}}


def test_headers_are_chosen_and_the_safe_ones_stay():
    made = answer("/?header=Content-Type:text/html&header=X-A:%20b")
    assert (made.content_type, made.headers[-1]) == ("text/html", ("X-A", "b"))
    assert {"content-security-policy", "x-content-type-options"} <= {name for name, _ in made.headers}


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("status", "600"), "status: 600 must be a number from 200 to 599"),
        (("body", "x" * 21), "body: at most 20 here"),
        (("header", "a"), "header: a must be NAME:VALUE in ASCII"),
        (("header", "a:b\r\nc: d"), "header: a:b"),
        (("header", "Set-Cookie:a"), "header: Set-Cookie cannot be chosen"),
        (("other", "1"), "other: unknown key; "),
    ],
    ids=["status", "body", "form", "line-end", "cookie", "unknown"],
)
def test_an_error_names_the_key(pair, said):
    with pytest.raises(RequestError) as caught:
        of_pairs([pair], BOUNDS, http=True)
    assert str(caught.value).startswith(said)
