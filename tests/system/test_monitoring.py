"""The files in etc/monitoring/ name only metrics, labels and reasons that exist in a real /metrics."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from echod.config.loading import load
from echod.gate.refusal import Refusal
from echod.services.registry import kinds
from tests.daemon import SECONDS, TOP, Daemon

MONITORING: Final = TOP / "etc" / "monitoring"
KUBERNETES: Final = TOP / "examples" / "kubernetes"
CONFIG: Final = """
[admin]
listen = ["tcp://127.0.0.1:0"]
[bus]
url = "redis://127.0.0.1:1/0"
[services.echo]
listen = ["tcp://127.0.0.1:0"]
"""
FROM_PROMETHEUS: Final = {"up"}  #: metrics that Prometheus itself adds
WORDS_OF_PROMQL: Final = {"sum", "by", "rate", "increase", "changes", "time", "min", "max", "sort"}


@pytest.fixture(scope="module")
def names() -> Iterator[set[str]]:
    """The names of the metrics, also of those without a value now."""
    with Daemon(CONFIG) as daemon:
        host, port = daemon.inet("admin", "tcp")
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=SECONDS) as answer:
            text = answer.read().decode()
        yield set(re.findall(r"(?m)^# TYPE (\S+) ", text)) | FROM_PROMETHEUS


def rules() -> dict[str, str]:
    """The expression of each alert."""
    text = (MONITORING / "echod.rules.yml").read_text("utf-8")
    return dict(re.findall(r"(?m)^ +- alert: (\w+)\n +expr: (.*)$", text))


def dashboard() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    return found


def queries() -> list[str]:
    board = dashboard()
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    found += [one["expr"] for one in board["annotations"]["list"]]
    return found + [one["definition"] for one in board["templating"]["list"] if "definition" in one]


def metrics_in(query: str) -> set[str]:
    """The metrics that a query names: its words outside of braces, strings and lists of labels."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", " ", query.replace("label_values(", "("))
    bare = re.sub(r",\s*\w+\)", ")", bare)
    return set(re.findall(r"[a-z][a-z_]+", bare)) - WORDS_OF_PROMQL


def test_every_metric_of_the_files_exists(names):
    used = {metric for query in (*rules().values(), *queries()) for metric in metrics_in(query)}
    assert used - names == set()
    assert len(used) > 20


def test_the_dashboard_shows_every_metric_of_the_daemon(names):
    shown = {metric for query in queries() for metric in metrics_in(query)}
    assert {name for name in names if name.startswith("echod_")} - shown == set()


def test_every_reason_in_a_query_exists():
    reasons = {
        reason
        for query in rules().values()
        for found in re.findall(r'reason=~?"([^"]+)"', query)
        for reason in found.split("|")
    }
    assert reasons
    assert reasons <= {str(one) for one in Refusal}


def test_every_alert_has_a_test_and_a_chapter():
    tests = (MONITORING / "echod.rules.test.yml").read_text("utf-8")
    page = (TOP / "docs" / "MONITORING.md").read_text("utf-8")
    for alert in rules():
        assert f"- name: {alert}\n" in tests
        assert f"{{alertname: {alert}, eval_time: 50m, exp_alerts: []}}" in tests
        assert f"| `{alert}` |" in page


def test_panels_have_their_own_numbers_and_places():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    for at, one in enumerate(places):
        assert one["x"] + one["w"] <= 24
        for other in places[:at]:
            apart = (
                one["x"] >= other["x"] + other["w"]
                or other["x"] >= one["x"] + one["w"]
                or one["y"] >= other["y"] + other["h"]
                or other["y"] >= one["y"] + one["h"]
            )
            assert apart, (one, other)


def test_the_configuration_of_the_kubernetes_example_is_valid(tmp_path, monkeypatch):
    text = (KUBERNETES / "echod.yaml").read_text("utf-8")
    [config] = re.findall(r"(?m)^  echod\.toml: \|\n((?:    .*\n|\n)+)", text)
    file = tmp_path / "echod.toml"
    file.write_text(re.sub(r"(?m)^    ", "", config))
    monkeypatch.setenv("RUNTIME_DIRECTORY", "")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    configuration = load(file, kinds(), {})
    assert '- {name: RUNTIME_DIRECTORY, value: ""}' in text
    assert {address.path for address in configuration.admin.listen} == {f"/tmp/echod-{os.geteuid()}/admin.sock", ""}
    ports = {address.port for service in configuration.services for address in service.listen}
    ports |= {address.port for address in configuration.admin.listen if not address.has_path}
    assert ports == {int(port) for port in re.findall(r"containerPort: (\d+)", text)}
    [grace] = re.findall(r"terminationGracePeriodSeconds: (\d+)", text)
    assert configuration.daemon.drain + 5 < int(grace)
