"""etc/monitoring/ and examples/kubernetes/ with their own programs and schemas: promtool, Prometheus, Grafana's models,
Kubernetes, the Gateway API, the Prometheus Operator.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest

from tests.contract.matrix import exactly
from tests.daemon import SECONDS, Daemon, eventually, free_port, run
from tests.redis_server import PROGRAM as REDIS
from tests.redis_server import RedisServer
from tests.system.test_monitoring import KUBERNETES, MONITORING, queries, rules
from tests.system_wide import npm_packages
from tests.system_wide.others import tool
from tests.system_wide.python_programs import installed, python_with

pytestmark = pytest.mark.needs_tools

CONFIG = """
[admin]
listen = ["tcp://127.0.0.1:0"]
[bus]
url = "redis://127.0.0.1:{redis}"
[services.echo]
listen = ["tls://127.0.0.1:0", "tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
deny = ["127.0.0.9"]
[services.echo.tls]
certificate = "self-signed"
[services.slow]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
[services.slow.faults]
delay = "1ms"
"""

VALIDATE: Final = """
for (const resource of JSON.parse(require("fs").readFileSync(0))) {
  import(`${process.argv[1]}/${resource.apiVersion}/index.js`)
    .then((models) => new models[resource.kind](resource).validate())
    .then(() => console.log(resource.kind));
}
"""  #: prints the kind of each resource that the models of a package accept


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; Debian's package is prometheus")
    return found


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "echod.rules.yml"),
        ("test", "rules", "echod.rules.test.yml"),
        ("check", "config", "prometheus.yml"),
    ],
    ids="-".join,
)
def test_promtool_accepts_the_files(words):
    ended = run(program("promtool"), *words, cwd=MONITORING)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert b"FAILED" not in ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Prometheus with our rules, which scrapes a daemon with traffic, a refusal and a fault."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "echod.rules.yml").write_bytes((MONITORING / "echod.rules.yml").read_bytes())
    port = free_port()
    if REDIS is None:
        pytest.skip("redis-server is not installed")
    with RedisServer() as redis, Daemon(CONFIG.format(redis=redis.port)) as daemon:
        daemon.stderr.wait_for(r"the bus .* is connected")
        for service in ("echo", "slow"):
            with socket.create_connection(daemon.inet(service, "tcp"), SECONDS) as client:
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"
        with socket.socket() as refused:
            refused.bind(("127.0.0.9", 0))
            try:
                refused.connect(daemon.inet("echo", "tcp"))
                refused.recv(1)
            except ConnectionResetError:
                pass
        text = (MONITORING / "prometheus.yml").read_text("utf-8")
        text = text.replace("127.0.0.1:10090", f"127.0.0.1:{daemon.inet('admin', 'tcp')[1]}").replace("15s", "1s")
        (folder / "prometheus.yml").write_text(text)
        words = [
            program("prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(words, cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet) as process:
            try:
                assert eventually(lambda: has_values(port, "rate(echod_sent_bytes_total[1m])"))
                yield port
            finally:
                process.terminate()
                process.wait(SECONDS)


def asked(port: int, query: str) -> Any:
    """The result of a query, or [] while the server starts. A wrong query fails the test."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code == 503:  # it reads its log
            return []
        raise AssertionError(f"{query}: {error.read().decode()}") from error
    except OSError:
        return []


def has_values(port: int, query: str) -> bool:
    return bool(asked(port, query))


def test_every_panel_has_values(prometheus):
    """Each query as Grafana sends it, its variables replaced."""
    values = {"$job": "echod", "$instance": ".*", "$service": ".*", "$__rate_interval": "1m"}
    for query in queries():
        if query.startswith(("label_values(", "changes(")):
            continue
        for name, value in values.items():
            query = query.replace(name, value)
        assert eventually(partial(has_values, prometheus, query)), query


def test_prometheus_evaluates_every_rule_without_an_alert(prometheus):
    def state() -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{prometheus}/api/v1/rules", timeout=SECONDS) as answer:
            return [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]

    expected = dict.fromkeys(rules(), ("ok", "inactive"))

    def states() -> dict[str, tuple[str, str]]:
        return {rule["name"]: (rule["health"], rule["state"]) for rule in state()}

    assert eventually(lambda: states() == expected), states()  # a scrape that is late makes EchodDown pending


def test_grafanas_models_accept_the_dashboard():
    """The types that Grafana generates from its schema. They raise an error for a wrong type."""
    python = python_with("grafana-foundation-sdk", "1769699998!10.1.0")
    script = (
        "import json, sys; from grafana_foundation_sdk.models.dashboard import Dashboard\n"
        "board = Dashboard.from_json(json.load(sys.stdin)); print(board.title, len(board.panels))"
    )
    text = (MONITORING / "grafana-dashboard.json").read_bytes()
    ended = run(python, "-c", script, input=text)
    assert (ended.returncode, ended.stdout.split()[0]) == (0, b"echod"), ended.stderr


def test_kubernetes_accepts_the_manifests():
    validate = installed("kubernetes-validate", "1.37.0")
    ended = run(validate, "--strict", KUBERNETES / "echod.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    kinds = re.findall(r"(?m)^kind: (\w+)$", (KUBERNETES / "echod.yaml").read_text())
    assert len(re.findall(rb"passed for resource", ended.stdout + ended.stderr)) == len(kinds) == 6


def resources(name: str) -> list[dict[str, Any]]:
    """The resources of a manifest, read by the YAML parser of Kubernetes' validator."""
    script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
    ended = run(python_with("kubernetes-validate", "1.37.0"), "-c", script, input=(KUBERNETES / name).read_bytes())
    return list(json.loads(ended.stdout))


@pytest.mark.parametrize(
    ("manifest", "package", "version", "kinds"),
    [
        ("gateway.yaml", "gateway-api", "2.0.0", ["Gateway", "TCPRoute", "UDPRoute"]),
        ("servicemonitor.yaml", "prometheus-operator", "6.0.0", ["ServiceMonitor"]),
    ],
    ids=["gateway", "servicemonitor"],
)
def test_models_of_custom_resources_accept_the_manifests(manifest, package, version, kinds):
    models = npm_packages.installed(f"@kubernetes-models/{package}", version)
    ended = run(tool("node"), "-e", VALIDATE, models, input=json.dumps(resources(manifest)).encode())
    assert (ended.returncode, sorted(ended.stdout.decode().split())) == (0, kinds), ended.stderr


def test_the_routes_of_the_gateway_lead_to_the_service():
    service = next(found for found in resources("echod.yaml") if found["kind"] == "Service")
    gateway, *routes = resources("gateway.yaml")
    served = {(port["port"], port["protocol"]) for port in service["spec"]["ports"]}
    listeners = {
        (entry["name"], entry["protocol"], *(kind["kind"] for kind in entry["allowedRoutes"]["kinds"]))
        for entry in gateway["spec"]["listeners"]
    }
    for route in routes:
        [parent], [rule] = route["spec"]["parentRefs"], route["spec"]["rules"]
        [backend], protocol = rule["backendRefs"], route["kind"].removesuffix("Route")
        assert (parent["name"], backend["name"]) == (gateway["metadata"]["name"], service["metadata"]["name"])
        listeners.remove((parent["sectionName"], protocol, route["kind"]))
        served.remove((backend["port"], protocol))
    assert (listeners, served) == (set(), set())
