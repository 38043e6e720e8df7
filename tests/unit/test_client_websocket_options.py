"""The options of WebSocket on the command line."""

import pytest

from echod.client.command_definitions import parser
from tests.unit.test_client_command_definitions import refusal


def test_the_options_of_a_request():
    words = ["--header", "X-A: 1", "--header", "X-B:2", "--subprotocol", "a", "--subprotocol", "b", "--origin", "null"]
    for command in ("send", "talk", "ping", "chat"):
        given = parser().parse_args([command, *words, "ws://x:1/path"])
        assert given.header == [("X-A", "1"), ("X-B", "2")]
        assert (given.subprotocol, given.origin) == (["a", "b"], "null")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("send", "--origin", "http://x", "tcp://127.0.0.1:7"), "--origin: tcp://127.0.0.1:7 is not WebSocket"),
        (("talk", "--header", "X: 1", "udp://127.0.0.1:7"), "--header: udp://127.0.0.1:7 is not WebSocket"),
        (("chat", "--subprotocol", "a", "tcp://127.0.0.1:7"), "--subprotocol: tcp://127.0.0.1:7 is not WebSocket"),
        (("send", "--header", "no colon", "ws://x:1"), '--header: "no colon" must be a header such as X-Test: 1'),
        (("send", "--header", "X: a\nY: b", "ws://x:1"), '--header: "a\\x0aY: b" must be 1 to 4096 visible ASCII'),
        (("send", "--subprotocol", "a b", "ws://x:1"), '--subprotocol: "a b" must be the name of a subprotocol'),
        (("ping", "--ping-frames", "tcp://127.0.0.1:7"), "--ping-frames: tcp://127.0.0.1:7 is not WebSocket"),
        (("ping", "--ping-frames", "-s", "126", "ws://x:1"), "--size 126 is out of range (16–125 bytes over ws)"),
        (("ping", "-s", "16777217", "ws://x:1"), "--size 16777217 is out of range (16–16777216 bytes over ws)"),
    ],
    ids=range(9),
)
def test_a_usage_error_names_the_option(words, said, capsys):
    assert said in refusal(capsys, *words)
