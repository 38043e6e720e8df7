"""The files of examples/balancers: a balancer and three servers, in private networks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.balanced import BALANCER, ECHO, EXAMPLES, READY, SERVERS, VISITORS, WHOAMI, Visits, balancer, haproxy
from tests.chaos.network import CLIENT4, LINK, SERVER4, Network, joined
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, free_port, run
from tests.system_wide.others import file, said, tool

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools]

VISITS: Final = int(os.environ.get("ECHOD_VISITS", "3000"))  #: while servers are killed, drained and upgraded
FLOWS: Final = 60


def config(name: str, host: str) -> str:
    """An example's configuration, for another server."""
    return (EXAMPLES / name).read_text("utf-8").replace(SERVERS[0], host)


class Farm:
    """Three servers with echod.toml, in one private network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._stack = ExitStack()
        self.daemons: dict[str, Daemon] = {}

    def __enter__(self) -> Farm:
        for host in SERVERS:
            self.start(host)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, host: str) -> None:
        """Start the server of this address."""
        with self.network.inside():
            self.daemons[host] = self._stack.enter_context(Daemon(config("echod.toml", host)))

    def connections(self) -> dict[str, int]:
        """The number of connections that each running server has accepted for echo."""
        return {host: accepted(self.network, host) for host in self.daemons}


def accepted(network: Network, host: str) -> int:
    """The number of connections that echo of this server has accepted."""
    page = get(network, host, "/metrics")
    lines = (line.split() for line in page.splitlines() if line.startswith("echod_connections_accepted_total{"))
    return sum(int(float(value)) for name, value in lines if 'service="echo"' in name)


def get(network: Network, host: str, path: str) -> str:
    with network.inside():
        return said("curl", "--silent", "--fail", f"http://{host}:{READY}{path}")


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        network.add(BALANCER, *SERVERS, "198.51.100.0/24")
        yield network


def whoami(network: Network, host: str) -> dict[str, Any]:
    with (
        network.inside(),
        socket.create_connection(WHOAMI, SECONDS, source_address=(host, 0)) as client,
        client.makefile("rb") as reply,
    ):
        facts: dict[str, Any] = json.loads(reply.read())
    return facts


def command(admin: Path, text: str) -> str:
    """The answer of HAProxy's administration socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(admin))
        client.sendall(text.encode() + b"\n")
        with client.makefile() as answer:
            return answer.read()


def state(admin: Path, server: str) -> tuple[str, int]:
    """The status of a server of echo, and its number of sessions."""
    rows = [line.split(",") for line in command(admin, "show stat").splitlines()]
    names = [name.strip("# ") for name in rows[0]]
    row = dict(zip(names, next(row for row in rows if row[:2] == ["echo", server]), strict=False))
    return row["status"], int(row["scur"])


def test_haproxy_names_the_clients_and_uses_every_server(network: Network, tmp_path: Path) -> None:
    with Farm(network) as farm, haproxy(network, tmp_path):
        facts = [whoami(network, f"198.51.100.{number}") for number in (7, 8, 9)]
        with Visits(network) as visits:
            visits.wait_for(100)
        assert min(farm.connections().values()) > 0
    assert [one["remote_address"] for one in facts] == ["198.51.100.7", "198.51.100.8", "198.51.100.9"]
    assert {one["proxy"]["version"] for one in facts} == {2}
    assert {one["proxy"]["address"] for one in facts} == {BALANCER}
    assert visits.results == {"served": visits.results["served"]}


def test_no_client_of_haproxy_is_refused_while_servers_die_drain_and_are_upgraded(
    network: Network, tmp_path: Path
) -> None:
    one, two, three = SERVERS
    with Farm(network) as farm, haproxy(network, tmp_path) as admin, Visits(network) as visits:
        visits.wait_for(VISITS // 4)

        farm.daemons[one].process.kill()
        assert eventually(lambda: state(admin, "one")[0] == "DOWN")
        visits.wait_for(VISITS // 4)
        killed = Counter(visits.results)
        farm.daemons[one].wait()
        farm.start(one)
        assert eventually(lambda: state(admin, "one")[0] == "UP")

        command(admin, "set server echo/two state drain")
        assert eventually(lambda: state(admin, "two")[1] == 0)
        before = accepted(network, two)
        visits.wait_for(VISITS // 4)
        drained = accepted(network, two) - before
        command(admin, "set server echo/two state ready")

        assert farm.daemons[three].stop() == 0
        farm.start(three)
        assert eventually(lambda: state(admin, "three")[0] == "UP")
        visits.wait_for(VISITS // 4)
        assert accepted(network, three) > 0
    print(dict(killed), dict(visits.results))
    assert drained == 0
    assert "ConnectionRefusedError" not in visits.results
    # Only the connections that the killed server had open may fail, and each visitor has one.
    assert killed.total() - killed["served"] <= VISITORS
    assert visits.results.total() - visits.results["served"] == killed.total() - killed["served"]


def test_nginx_names_the_clients_and_goes_to_the_next_server(network: Network, tmp_path: Path) -> None:
    module = file("/usr/lib/nginx/modules/ngx_stream_module.so")
    text = (EXAMPLES / "nginx.conf").read_text("utf-8").replace("modules/ngx_stream_module.so", module)
    (tmp_path / "nginx.conf").write_text(f"daemon off;\npid {tmp_path}/nginx.pid;\n{text}", "utf-8")
    words = (tool("nginx"), "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", "stderr")
    with Farm(network) as farm, balancer(network, *words), Visits(network) as visits:
        facts = whoami(network, "198.51.100.77")
        visits.wait_for(VISITS // 2)
        assert min(farm.connections().values()) > 0
        assert farm.daemons[SERVERS[0]].stop() == 0
        visits.wait_for(VISITS // 2)
    assert (facts["remote_address"], facts["proxy"]["version"]) == ("198.51.100.77", 1)
    assert visits.results == {"served": visits.results["served"]}


def received(network: Network, host: str) -> int:
    """The number of datagrams that echo of this server has received."""
    lines = (line.split() for line in get(network, host, "/metrics").splitlines())
    names = ((line[0], line[1]) for line in lines if line and line[0].startswith("echod_messages_received_total{"))
    return sum(int(float(value)) for name, value in names if 'service="echo"' in name)


def test_nftables_keeps_each_flow_at_its_server(tmp_path: Path) -> None:
    tool("nft")
    rules = (EXAMPLES / "udp.nft").read_text("utf-8")
    without = rules.replace("mod 3", "mod 2").replace("            1 : 192.0.2.12,\n            2 :", "            1 :")
    with joined() as (network, client), ExitStack() as stack:
        network.add(BALANCER, *SERVERS)
        network.ip("route", "add", "198.51.100.0/24", "via", CLIENT4)
        client.add("198.51.100.0/24")
        client.ip("route", "add", "192.0.2.0/24", "via", SERVER4)
        farm = stack.enter_context(Farm(network))
        with network.inside():
            said("nft", "-f", "-", given=rules.encode())

        def flows(first: int) -> list[socket.socket]:
            opened = []
            with client.inside():
                for number in range(first, first + FLOWS):
                    flow = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    flow.settimeout(SECONDS)
                    flow.bind((f"198.51.100.{number}", 0))
                    opened.append(flow)
            return opened

        def exchange(opened: list[socket.socket]) -> list[int]:
            """Five datagrams on each flow; returns how many each server got."""
            before = [received(network, host) for host in SERVERS]
            for turn in range(5):
                for flow in opened:
                    flow.sendto(b"%d" % turn, ECHO)
                    assert flow.recvfrom(100) == (b"%d" % turn, ECHO)
            return [received(network, host) - count for host, count in zip(SERVERS, before, strict=True)]

        old = flows(1)
        shares = exchange(old)
        assert sum(shares) == 5 * FLOWS
        assert min(shares) > 0
        assert [share % 5 for share in shares] == [0, 0, 0]

        with network.inside():
            said("nft", "-f", "-", given=without.encode())
        assert exchange(old) == shares
        new = exchange(flows(1 + FLOWS))
        assert new[1] == 0
        assert sum(new) == 5 * FLOWS
        farm.daemons[SERVERS[1]].check()


@contextmanager
def machines(switch: Network, *hosts: str) -> Iterator[list[Network]]:
    """Networks with one address each, on one switch."""
    with ExitStack() as stack:
        switch.ip("link", "add", "br0", "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        made = []
        for number, host in enumerate(hosts):
            machine = stack.enter_context(Network())
            port = f"port{number}"
            machine.ip("link", "add", LINK, "type", "veth", "peer", "name", port, "netns", switch.path)
            switch.ip("link", "set", port, "master", "br0", "up")
            machine.ip("link", "set", LINK, "up")
            machine.add(f"{host}/24", device=LINK)
            made.append(machine)
        yield made


def test_keepalived_accepts_the_configuration_of_ipvs(tmp_path: Path) -> None:
    """It is not run: that needs the module ip_vs of the kernel. A wrong word in it is found."""
    keepalived = tool("keepalived")
    assert run(keepalived, "-t", "-f", EXAMPLES / "ipvs.conf").returncode == 0
    wrong = tmp_path / "ipvs.conf"
    wrong.write_text((EXAMPLES / "ipvs.conf").read_text("utf-8").replace("lvs_sched sh ", "lvs_sched shh "))
    assert run(keepalived, "-t", "-f", wrong).returncode != 0


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_echoctl_gets_past_an_address_that_refuses(scheme: str, tmp_path: Path) -> None:
    """A name has two addresses, and one of them refuses. The file of names is in a mount namespace of the client."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 servers.example\n127.0.0.3 servers.example\n")
    mounted = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts)
    for ready in ("127.0.0.2", "127.0.0.3"):
        with Daemon(f'[services.whoami]\nlisten = ["{scheme}://{ready}:{free_port()}"]\n') as daemon:
            _host, port = daemon.inet("whoami", scheme)
            done = run(*mounted, *ECHOCTL, "send", f"{scheme}://servers.example:{port}", "x")
        assert done.returncode == 0, done
        facts = json.loads(done.stdout)
        assert (facts["local_address"], facts["local_port"]) == (ready, port)


def test_keepalived_moves_the_address_to_the_machine_that_is_ready(tmp_path: Path) -> None:
    keepalived = tool("keepalived")
    text = (EXAMPLES / "address.toml").read_text("utf-8")

    def start(machine: Network) -> Daemon:
        with machine.inside():
            return stack.enter_context(Daemon(text))

    def addressed(machine: Network) -> bool:
        with machine.inside():
            return f"inet {BALANCER}/" in said("ip", "address", "show", "dev", LINK)

    def served() -> bool:
        with client.inside(), suppress(OSError), socket.create_connection(ECHO, 1) as connection:
            connection.sendall(b"hello")
            return connection.recv(100) == b"hello"
        return False

    with (
        Network() as switch,
        machines(switch, "192.0.2.2", "192.0.2.3", "192.0.2.50") as (first, second, client),
        ExitStack() as stack,
    ):
        daemons = [start(first), start(second)]
        for machine, name in ((first, "first"), (second, "second")):
            files = ("-p", tmp_path / f"{name}.pid", "-r", tmp_path / f"{name}-vrrp.pid")
            words = (keepalived, "-n", "-l", "-G", "-f", EXAMPLES / "keepalived.conf", "-i", name, *files)
            with machine.inside():
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment())
            stack.enter_context(process)
            stack.callback(process.terminate)
        assert eventually(lambda: addressed(first) and not addressed(second))
        assert eventually(served)

        daemons[0].process.kill()
        daemons[0].wait()
        assert eventually(lambda: addressed(second) and not addressed(first))
        assert eventually(served)

        start(first)
        assert eventually(lambda: addressed(first) and not addressed(second))
        assert eventually(served)
