"""The options of TLS on the command line, and their usage errors."""

from __future__ import annotations

import pytest

from echod.client.command_definitions import parser
from echod.client.tls_settings import context_of, expectations_of
from tests.unit.test_client_command_definitions import refusal

URL = "tls://echo.example:4007"


@pytest.mark.parametrize("command", ["send", "talk", "ping", "chat"])
def test_every_command_with_a_url_has_the_options(command, tmp_path):
    words = ["--ca", "ca.pem", "--cert", "c.pem", "--key", "k.pem", "--server-name", "a.example", "--alpn", "x, y"]
    expected = expectations_of(parser().parse_args([command, URL, *words]))
    assert (expected.host, expected.ca, expected.certificate, expected.key) == ("a.example", "ca.pem", "c.pem", "k.pem")
    assert (expected.alpn, expected.verified) == (("x", "y"), True)


def test_without_options_the_host_is_expected_and_verified():
    expected = expectations_of(parser().parse_args(["send", URL]))
    assert (expected.host, expected.verified) == ("echo.example", True)
    assert (expected.ca, expected.certificate, expected.key, expected.alpn) == ("", "", "", ())


def test_insecure_prints_one_warning(capfd):
    arguments = parser().parse_args(["send", "--insecure", URL])
    context_of(arguments, expectations_of(arguments))
    said = capfd.readouterr().err
    assert said == f"echoctl: {URL}: --insecure: the certificate of the server is not verified\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--ca", "ca.pem", "tcp://127.0.0.1:7"), "--ca: tcp://127.0.0.1:7 has no TLS; --ca is for tls:// and wss://"),
        (("--insecure", "unix:///x"), "--insecure: unix:///x has no TLS"),
        (("--server-name", "a.example", "udp://127.0.0.1:7"), "--server-name: udp://127.0.0.1:7 has no TLS"),
        (("--key", "k.pem", URL), "--key needs --cert"),
        (("--insecure", "--ca", "ca.pem", URL), "--insecure verifies nothing: leave out --ca"),
        (("--ca", "", URL), "--ca: the file name is empty"),
        (("--server-name", "*.example", URL), "--server-name: *.example is not the name of one server"),
        (("--server-name", "a b", URL), "--server-name: a b is not a DNS name or an IP address"),
        (("--alpn", "a,,b", URL), '--alpn: "" is not the name of a protocol'),
        (("--alpn", "x" * 256, URL), "is not the name of a protocol"),
        (("--alpn", "ä", URL), '--alpn: "ä" is not the name of a protocol'),
        (("-4", "--ca", "ca.pem", "unix:///x"), "-4: unix:///x has no IP address"),
    ],
    ids=range(12),
)
def test_a_wrong_use_is_one_line(words, says, capsys):
    assert says in refusal(capsys, "send", *words)
