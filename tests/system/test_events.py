"""Events of a running daemon: echoctl, the log and the stream have the same ones, with one process and with workers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import pytest

from echod.event_catalogue import CATALOGUE
from echod.testing.output import Output
from tests.contract.matrix import exactly, rest
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, run
from tests.fork_server import Popen

CONFIG = """
[daemon]
workers = WORKERS
[admin]
listen = ["unix://{dir}/admin.sock?mode=0600", "tcp://127.0.0.1:0"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "unix://{dir}/stream"]
[services.private]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
allow = ["192.0.2.0/24"]
"""
HOSTILE = f"\x1b]0;{os.getpid()}\x07\u202eé"  #: the name of a client's socket, in a namespace of all processes


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "workers"])
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with Daemon(CONFIG.replace("WORKERS", request.param)) as running:
        yield running


def command(daemon: Daemon, *words: str) -> list[str]:
    return [*ECHOCTL, "events", *words, "--admin", f"unix://{daemon.dir}/admin.sock"]


def events(daemon: Daemon, *words: str) -> list[dict[str, Any]]:
    """The recent events that echoctl prints."""
    done = run(*command(daemon, "--json", *words))
    assert done.returncode == 0, done
    found = json.loads(done.stdout)
    assert found["dropped"] == 0
    return list(found["events"])


@contextmanager
def following(daemon: Daemon, *words: str) -> Iterator[Output]:
    """The lines of `echoctl events --follow`, which has printed the events of the start.

    If it shows single connections, the daemon has begun to publish them.
    """
    with Popen(
        command(daemon, "--follow", *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    ) as process:
        assert process.stdout is not None
        output, peers = Output(process.stdout), list[str]()
        try:
            output.wait_for(r"echo  unix://")
            if "debug" in words:
                assert eventually(lambda: seen(peers, output) or connected(daemon, peers))
            yield output
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(SECONDS)
            output.close()


def seen(peers: list[str], output: Output) -> bool:
    """Whether one of these clients appears in the output."""
    return any(peer in line for line in output.text for peer in peers)


def connected(daemon: Daemon, peers: list[str]) -> bool:
    """Open a connection, and add the address of its client; returns False."""
    with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
        client.shutdown(socket.SHUT_WR)
        rest(client)
        peers.append("{}:{}".format(*client.getsockname()))
    return False


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event, which are those of the catalogue with their types."""
    kind = CATALOGUE[event["event"]]
    assert event["level"] == kind.severity
    fields = {key: value for key, value in event.items() if key not in ("time", "level", "message", "event")}
    assert kind.mismatch(fields) is None, event
    assert kind.wrong_types(fields) == [], event
    return fields


def test_events_and_the_log_are_the_same(daemon: Daemon) -> None:
    printed = run(*command(daemon)).stdout.decode().splitlines()
    logged = [line for line in daemon.stderr.text if any(line.endswith(one[24:]) for one in printed)]
    assert [line[24:] for line in printed] == [line[24:] for line in logged]
    assert printed[-1].endswith(f"info  ready: {len(daemon.urls)} listeners")
    for event in events(daemon):
        checked(event)


def test_a_connection_is_followed_to_the_byte(daemon: Daemon) -> None:
    with following(daemon, "--severity", "debug", "--service", "echo", "--json-lines") as lines:
        with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
            peer = "{}:{}".format(*client.getsockname())
            client.sendall(b"x" * 70_001)
            assert len(exactly(client, 70_001)) == 70_001
        lines.wait_for('"connection.closed".*"bytes_out": 70001')
        told = [json.loads(line) for line in lines.text]
    opened, closed = [one for one in told if one.get("peer") == peer]
    where = {"service": "echo", "address": daemon.url("echo", "tcp"), "peer": peer}
    assert checked(opened) == where
    assert checked(closed) == {**where, "reason": "done", "bytes_in": 70_001, "bytes_out": 70_001}
    assert "private" not in {one.get("service") for one in told}


def test_names_of_clients_are_escaped(daemon: Daemon) -> None:
    with (
        following(daemon, "--severity", "debug", "--color", "always") as lines,
        following(daemon, "--severity", "debug", "--json-lines") as objects,
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.bind(f"\0{HOSTILE}".encode())
            client.connect(f"{daemon.dir}/stream")
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
        lines.wait_for(r"ended: done, 5 in, 5 out")
        objects.wait_for('"bytes_in": 5')
        assert all(line.isprintable() for line in (*lines.text, *objects.text))
        assert any(rf"@\x1b]0;{os.getpid()}\x07\u{{202e}}é" in line for line in lines.text)


def test_a_denied_client_is_told_with_the_key_that_allows_it(daemon: Daemon) -> None:
    for _ in range(3):
        with suppress(ConnectionError), socket.create_connection(daemon.inet("private", "tcp"), SECONDS) as client:
            rest(client)
    daemon.stderr.wait_for("private .* denied 127.0.0.1")
    [denied] = events(daemon, "--name", "client.*", "--service", "private")
    assert checked(denied)["host"] == "127.0.0.1"
    assert "to allow it: --allow 127.0.0.1" in denied["message"]


def test_a_refused_reload_is_an_error_for_a_browser_too(daemon: Daemon) -> None:
    file = daemon.dir / "echod.toml"
    right = file.read_text("utf-8")
    with closing(socket.create_connection(daemon.inet("admin", "tcp"), SECONDS)) as browser:
        host = b"Host: localhost\r\nAccept: text/event-stream\r\n\r\n"
        browser.sendall(b"GET /api/events?severity=error HTTP/1.1\r\n" + host)
        received = b""
        while b"\r\n\r\n" not in received:  # the events from now on come
            received += browser.recv(65_536)
        file.write_text(f"nonsense = 1\n{right}", "utf-8")
        run(*ECHOCTL, "reload", "--admin", f"unix://{daemon.dir}/admin.sock")
        file.write_text(right, "utf-8")
        while b"\n\n" not in received:
            received += browser.recv(65_536)
    assert b"content-type: text/event-stream" in received
    [data] = [line for line in received.split(b"\n") if line.startswith(b"data: ")]
    refused = json.loads(data.removeprefix(b"data: "))
    assert "nonsense" in checked(refused)["errors"]
    assert events(daemon, "--severity", "error")[-1] == refused


def test_a_step_of_a_script_is_told_once(daemon: Daemon) -> None:
    """With workers, each process has a replica of the script."""
    script = daemon.dir / "script.toml"
    script.write_text('[[step]]\nfor = "200ms"\ndelay = "1ms"\n', "utf-8")
    words = ("--script", str(script), "--admin", f"unix://{daemon.dir}/admin.sock")
    assert run(*ECHOCTL, "faults", "echo", *words).returncode == 0
    daemon.stderr.wait_for("the end of the script")
    causes = [checked(event)["by"] for event in events(daemon, "--name", "faults.changed")]
    assert sorted(causes) == ["step 1 of the script", "the administrator", "the end of the script"]


def test_a_hundred_pages_have_the_status_and_a_scraper_is_served(daemon: Daemon) -> None:
    where = daemon.inet("admin", "tcp")
    with ExitStack() as stack:
        pages = []
        for _ in range(100):
            page = stack.enter_context(socket.create_connection(where, SECONDS))
            page.sendall(b"GET /api/events?status=yes&severity=error HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while b"event: status\n" not in received:
                received += page.recv(65_536)
            pages.append(page)
        scraper = stack.enter_context(socket.create_connection(where, SECONDS))
        scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"echod_connections_accepted_total" in rest(scraper)
        with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
            for page in pages:
                received = b""
                while not re.search(rb'event: changes\ndata: .*"open": 1', received):
                    received += page.recv(65_536)


def test_wrong_words_are_one_line(daemon: Daemon) -> None:
    for words, said in (
        (("--name", "\x1b*"), rb'"\x1b*" matches no event; expected a name such as daemon.reloaded'),
        (("--since", "soon"), b"soon"),
        (("--severity", "loud"), b"must be one of: debug, info, warn, error"),
        (("--json", "--follow"), b"use --json-lines"),
    ):
        done = run(*command(daemon, *words))
        assert done.returncode == 2, done
        assert said in done.stderr
        assert done.stderr.count(b"\n") == 1
    done = run(*ECHOCTL, "events", "--severity", "debug", "--admin", daemon.url("admin", "tcp"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"echoctl: severity=debug is available only over the Unix socket\n"
    done = run(*command(daemon, "--service", "nope"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"echoctl: service=nope is not a service of this daemon\n"


def test_every_service_has_events_also_the_admin_interface(daemon: Daemon) -> None:
    for service in ("echo", "private", "admin"):
        assert run(*command(daemon, "--service", service)).returncode == 0


def test_the_end_of_the_daemon_ends_the_stream() -> None:
    with Daemon(CONFIG.replace("WORKERS", "1")) as daemon, following(daemon) as lines:
        assert daemon.stop() == 0
        lines.wait_for("^echoctl: ")
    assert "the daemon" in lines.text[-1]
