"""Typical clients of people who learn sockets: each works with echod unchanged."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, run

LESSONS = Path(__file__).parent / "lessons"
CONFIG = """
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.ack]
show = "text"
listen = ["tcp://127.0.0.1:0"]
[services.printer]
kind = "discard"
show = "text"
listen = ["udp://127.0.0.1:0"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as daemon:
        yield daemon
        daemon.check()
        assert daemon.stop() == 0


def lesson(name: str, daemon: Daemon, service: str, scheme: str, *words: str, typed: bytes = b"") -> str:
    """The output of a lesson's client for this input."""
    host, port = daemon.inet(service, scheme)
    ended = run(sys.executable, "-W", "error", LESSONS / f"{name}.py", str(host), str(port), *words, input=typed)
    assert ended.stderr == b""
    assert ended.returncode == 0
    return ended.stdout.decode("utf-8")


def test_every_lesson_is_tested():
    assert {path.stem for path in LESSONS.glob("*.py")} == {
        "fifty_clients",
        "half_close",
        "receipt",
        "udp_printer",
        "udp_question",
        "upper_loop",
    }


def test_upper_in_a_loop(daemon):
    said = lesson("upper_loop", daemon, "upper", "tcp", typed="hello\nWörld 1\nexit\n".encode())
    assert said == "> HELLO\n> WöRLD 1\n> "


def test_the_receipt_and_its_close(daemon):
    assert lesson("receipt", daemon, "ack", "tcp", "one parcel") == "received\nthe server has closed\n"
    daemon.stdout.wait_for(r"^tcp 127\.0\.0\.1:\d+: one parcel$")


def test_the_udp_printer_until_exit(daemon):
    lesson("udp_printer", daemon, "printer", "udp", typed="first\nzweitens: Grüße\n\nexit\n".encode())
    daemon.stdout.wait_for(r"^udp 127\.0\.0\.1:\d+: exit$")
    printed = [line.partition(": ") for line in daemon.stdout.text if line.startswith("udp ")]
    assert [text for _, _, text in printed] == ["first", "zweitens: Grüße", "", "exit"]
    assert len({client for client, _, _ in printed}) == 1


def test_show_prints_the_client_and_its_message():
    """As `make run` starts it: --show is for the services that do not set `show`."""
    with Daemon(
        CONFIG + '[services.quiet]\nkind = "echo"\nshow = "no"\nlisten = ["tcp://127.0.0.1:0"]\n', options=["--show"]
    ) as daemon:
        lesson("half_close", daemon, "quiet", "tcp")
        lesson("upper_loop", daemon, "upper", "tcp", typed="hello\nWörld\x1b[2J 1\nexit\n".encode())
        lesson("udp_question", daemon, "upper", "udp", typed=b"how are you?\n")
        daemon.stdout.wait_for(r"^udp 127\.0\.0\.1:\d+: how are you\?$")
        printed = [line.partition(": ") for line in daemon.stdout.text if line.startswith("tcp ")]
        assert [text for _, _, text in printed] == ["hello", r"Wörld\x1b[2J 1"]
        assert len({client for client, _, _ in printed}) == 1
        daemon.check()
        assert daemon.stop() == 0


def test_request_and_reply_over_udp(daemon):
    host, port = daemon.inet("upper", "udp")
    said = lesson("udp_question", daemon, "upper", "udp", typed=b"how are you?\nand now?\n")
    assert said == f"HOW ARE YOU? from {host} {port}\nAND NOW? from {host} {port}\n"


def test_fifty_clients_at_once(daemon):
    assert lesson("fifty_clients", daemon, "upper", "tcp") == "50 clients were answered\n"


@pytest.mark.parametrize("size", [0, 5, 150_000])
def test_half_close(daemon, size):
    said = lesson("half_close", daemon, "echo", "tcp", typed=b"lesson " * (size // 7) + b"." * (size % 7))
    assert said == f"{size} bytes came back, the same\n"
