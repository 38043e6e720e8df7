"""`echoctl ping --serve`: metrics over HTTP while it measures, targets that fail, and its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from echod.testing.output import Output
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, free_port, run
from tests.fork_server import Popen

CONFIG = """
[services.echo]
listen = ["tcp://127.0.0.1:PORT"]
[services.reflector]
listen = ["udp://127.0.0.1:0"]
"""


@contextmanager
def exporter(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], Output, str]]:
    """A running exporter, its lines, and the URL of its metrics."""
    command = [*ECHOCTL, "ping", *words, "-i", "20ms", "--serve", "tcp://127.0.0.1:0"]
    with Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            lines = Output(process.stdout)
            yield process, lines, lines.wait_for(r"^metrics: (http://127\.0\.0\.1:\d+/metrics)$")[1]
        finally:
            process.kill()


def metric(url: str, name: str, **labels: str) -> float:
    """The sum of the time series of this name with these labels."""
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        text = answer.read().decode()
    found = 0.0
    for series, value in re.findall(rf"^{name}(\{{.*\}}) (\S+)$", text, re.MULTILINE):
        if all(f'{label}="{wanted}"' in series for label, wanted in labels.items()):
            found += float(value)
    return found


def has_replies(url: str, target: str) -> bool:
    return metric(url, "echoctl_ping_rtt_seconds_count", target=target) > 5


def test_metrics_rise_while_it_measures_and_an_interrupt_ends_it():
    with Daemon(CONFIG.replace("PORT", "0")) as daemon:
        urls = [daemon.url("reflector", "udp"), daemon.url("echo", "tcp")]
        with exporter(*urls) as (process, lines, url):
            for target in urls:
                assert eventually(partial(has_replies, url, target))
                assert eventually(lambda: metric(url, "echoctl_ping_up", target=target) == 1)  # noqa: B023 - called here
            assert metric(url, "echoctl_ping_delay_seconds_count", direction="forward") > 5
            received = metric(url, "echoctl_ping_replies_total", result="received")
            assert eventually(lambda: metric(url, "echoctl_ping_replies_total", result="received") > received)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
            lines.wait_for("^--- udp://")
        daemon.check()


def test_a_target_that_ends_is_measured_again():
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    with exporter(url) as (_, _, metrics):
        assert eventually(lambda: metric(metrics, "echoctl_ping_failures_total") >= 1)
        assert metric(metrics, "echoctl_ping_up") == 0
        with Daemon(CONFIG.replace("PORT", str(port))):
            assert eventually(lambda: metric(metrics, "echoctl_ping_up") == 1)
            sent = metric(metrics, "echoctl_ping_probes_sent_total")
        failures = metric(metrics, "echoctl_ping_failures_total")
        assert eventually(lambda: metric(metrics, "echoctl_ping_failures_total") > failures)
        assert metric(metrics, "echoctl_ping_up") == 0
        assert metric(metrics, "echoctl_ping_probes_sent_total") >= sent


def receive_all(connection: socket.socket) -> None:
    """Receive until the peer closes."""
    while connection.recv(1_048_576):
        pass


def test_the_connection_of_a_run_that_ended_early_is_closed():
    """A peer that does not read ends the run. Otherwise each run would leave its connection with its pending probes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with exporter("-s", "16MiB", url), listening.accept()[0] as first, listening.accept()[0]:
            first.settimeout(SECONDS)
            with pytest.raises(ConnectionResetError):
                receive_all(first)


def test_other_requests_get_an_error_and_a_slow_one_is_closed_by_itself():
    with exporter("udp://127.0.0.1:9") as (_, _, url):
        for path, method, code in (("x", "GET", 404), ("metrics", "POST", 405), ("", "GET", 200)):
            request = urllib.request.Request(url.replace("metrics", path), method=method)
            try:
                with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                    assert answer.status == code
            except urllib.error.HTTPError as error:
                with error:
                    assert error.code == code
        port = int(url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), 60) as client:
            client.sendall(b"GET /metr")
            assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def status(url: str, **headers: str) -> int:
    """The status of a request with these headers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_web_page_cannot_read_the_metrics():
    """Its owner points its name to this host (DNS rebinding), or it sends requests to this host from another site."""
    with exporter("udp://127.0.0.1:9", "--serve-host", "probe.example", "--serve-host", "Probe2") as (_, _, url):
        own = url.split("/")[2]
        port = own.partition(":")[2]
        for host in (own, f"localhost:{port}", f"probe.example:{port}", "PROBE.example", "probe2", "[::1]:10091"):
            assert status(url, Host=host) == 200, host
        for host in (f"rebound.example:{port}", "localhost.rebound.example", "probe.example.rebound.example"):
            assert status(url, Host=host) == 421, host
            assert status(url.replace("metrics", ""), Host=host) == 421
        assert status(url, Origin=f"http://{own}") == 200
        assert status(url, Origin="http://rebound.example") == 403


def test_an_address_in_use_is_an_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        ended = run(*ECHOCTL, "ping", "udp://127.0.0.1:9", "--serve", address)
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: --serve {address}: address already in use (EADDRINUSE)\n"


@pytest.mark.parametrize("form", ["--csv", "--json-lines"])
def test_lines_for_programs_stay_on_standard_output(form):
    with Daemon(CONFIG.replace("PORT", "0")) as daemon:
        command = [*ECHOCTL, "ping", form, "-i", "20ms", daemon.url("echo", "tcp"), "--serve", "tcp://127.0.0.1:0"]
        with Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                Output(process.stderr).wait_for("^metrics: http")
                lines = Output(process.stdout)
                lines.wait_for("received")
                assert "metrics" not in lines.text
            finally:
                process.kill()
