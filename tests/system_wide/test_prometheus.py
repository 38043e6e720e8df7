"""/metrics with Prometheus' own programs: promtool has no complaint, and a Prometheus scrapes it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.matrix import exactly
from tests.daemon import SECONDS, Daemon, eventually, free_port, run

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


def asked(port: int, query: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return json.load(answer)["data"]["result"]
    except OSError:
        return []


def test_a_prometheus_scrapes_and_replies_to_a_query(daemon, tmp_path):
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed; Debian's package is prometheus")
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(SCRAPE.format(port=daemon.inet("admin", "tcp")[1]))
    words = [
        prometheus,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, cwd=tmp_path, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            query = 'sum by (service) (echod_received_bytes_total{service="echo"})'
            assert eventually(lambda: bool(asked(port, query)), 60)
            (found,) = asked(port, query)
            assert found["metric"] == {"service": "echo"}
            assert found["value"][1] == "1005", "exact to the byte, including the open connection"
            (up,) = asked(port, "echod_ready")
            assert up["value"][1] == "1"
        finally:
            process.terminate()
            process.wait(SECONDS)
