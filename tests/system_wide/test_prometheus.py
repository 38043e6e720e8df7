"""/metrics with Prometheus' own programs: promtool has no complaint, and a Prometheus scrapes it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from echod.testing.output import Output
from tests.contract.matrix import exactly
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, free_port, run

CONFIG = """
[admin]
listen = ["tcp://127.0.0.1:0"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
"""
SCRAPE = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: echod
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""

pytestmark = pytest.mark.needs_tools


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as running:
        with socket.create_connection(running.inet("echo", "tcp"), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                datagrams.sendto(b"x" * 1000, running.inet("echo", "udp"))
                datagrams.settimeout(SECONDS)
                assert datagrams.recv(2000) == b"x" * 1000
            yield running
        running.check()


def metrics(daemon: Daemon) -> bytes:
    host, port = daemon.inet("admin", "tcp")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=SECONDS) as answer:
        text: bytes = answer.read()
    return text


def test_promtool_has_no_complaint(daemon):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian's package is prometheus")
    said = run(promtool, "check", "metrics", input=metrics(daemon))
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def results(port: int, query: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return json.load(answer)["data"]["result"]
    except OSError:
        return []


def asked(port: int, query: str) -> Any:
    """The results of a query, once there are some: after a scrape that took too long there are none until the next."""
    found: list[Any] = []

    def has_results() -> bool:
        found[:] = results(port, query)
        return bool(found)

    assert eventually(has_results), query
    return found


def states(port: int) -> dict[str, str]:
    """Whether each target of a ping replies."""
    return {one["metric"]["target"]: one["value"][1] for one in results(port, "echoctl_ping_up")}


@contextmanager
def scraping(prometheus: str, folder: Path, target: int) -> Iterator[int]:
    """A Prometheus that scrapes a port of this machine; the port of its API."""
    port = free_port()
    (folder / "prometheus.yml").write_text(SCRAPE.format(port=target))
    words = [
        prometheus,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            yield port
        finally:
            process.terminate()
            process.wait(SECONDS)


def test_a_prometheus_scrapes_and_replies_to_a_query(daemon, tmp_path):
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed; Debian's package is prometheus")
    with scraping(prometheus, tmp_path, daemon.inet("admin", "tcp")[1]) as port:
        query = 'sum by (service) (echod_received_bytes_total{service="echo"})'
        (found,) = asked(port, query)
        assert found["metric"] == {"service": "echo"}
        assert found["value"][1] == "1005", "exact to the byte, including the open connection"
        (up,) = asked(port, "echod_ready")
        assert up["value"][1] == "1"


def test_a_prometheus_scrapes_ping(tmp_path):
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if prometheus is None or promtool is None:
        pytest.skip("prometheus is not installed; Debian's package is prometheus")
    with Daemon(CONFIG) as daemon:
        command = [*ECHOCTL, "ping", daemon.url("echo", "udp"), "udp://127.0.0.1:9", "-i", "50ms"]
        command += ["--serve", "tcp://127.0.0.1:0"]
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as ping:
            assert ping.stdout is not None
            try:
                url = Output(ping.stdout).wait_for("^metrics: (http://.*)$")[1]
                with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                    said = run(promtool, "check", "metrics", input=answer.read())
                assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")
                with scraping(prometheus, tmp_path, int(url.split(":")[2].split("/")[0])) as port:
                    asked(port, "echoctl_ping_rtt_seconds_count > 10")
                    query = "histogram_quantile(0.5, echoctl_ping_rtt_seconds_bucket)"
                    times = {one["metric"]["target"]: float(one["value"][1]) for one in asked(port, query)}
                    assert 0 < times[daemon.url("echo", "udp")] < 10
                    expected = {daemon.url("echo", "udp"): "1", "udp://127.0.0.1:9": "0"}
                    assert eventually(lambda: states(port) == expected), states(port)
            finally:
                ping.kill()
