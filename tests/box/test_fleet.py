"""Ansible installs, reconfigures and upgrades three machines behind HAProxy, and no client fails."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.balanced import BALANCER, SERVERS, Visits, haproxy
from tests.box.administration import upgraded
from tests.box.box import Box, Lacking
from tests.chaos.network import LINK, Network
from tests.daemon import TOP, run
from tests.system_wide.others import tool

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools, pytest.mark.timeout(2400)]

NAMES: Final = ("one", "two", "three")
EXAMPLE: Final = TOP / "examples/ansible"


class Fleet:
    """Three machines and the network of the balancer, on one switch; `play` runs the example's playbook."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        self.ansible = tool("ansible-playbook")
        tool("haproxy")
        self.network = stack.enter_context(Network())
        self.network.ip("link", "add", "br0", "type", "bridge")
        self.network.ip("link", "set", "br0", "up")
        self.network.add(f"{BALANCER}/24", device="br0")
        self.network.add("198.51.100.0/24")
        with ThreadPoolExecutor() as pool:
            self.boxes = dict(zip(NAMES, pool.map(lambda _name: stack.enter_context(Box()), NAMES), strict=True))
        for (name, box), host in zip(self.boxes.items(), SERVERS, strict=True):
            port = f"port-{name}"
            self.network.ip("link", "add", port, "type", "veth", "peer", "name", LINK, "netns", str(box.leader))
            self.network.ip("link", "set", port, "master", "br0", "up")
            box.said("ip", "address", "add", f"{host}/24", "dev", LINK)
            box.said("ip", "link", "set", LINK, "up")
            box.said("ip", "route", "add", "198.51.100.0/24", "via", BALANCER)
        self.admin = stack.enter_context(haproxy(self.network, folder, served=False))

    def play(self, package: Path, *more: str) -> dict[str, tuple[int, int]]:
        """Run the playbook; returns the numbers of changed and of failed tasks of each machine."""
        inventory = self.folder / "inventory.ini"
        text = (EXAMPLE / "inventory.ini").read_text("utf-8")
        inventory.write_text(text.replace("ansible_host=192.0.2.10", "ansible_connection=local"), "utf-8")
        words: list[str | Path] = [self.ansible, "-i", inventory, EXAMPLE / "echod.yml"]
        variables = {"ansible_become": "false", "echod_package": str(package), "haproxy_socket": str(self.admin)}
        for name, value in variables.items():
            words += ["-e", f"{name}={value}"]
        host_vars = self.folder / "host_vars"
        host_vars.mkdir(exist_ok=True)
        for name, box in self.boxes.items():
            lines = (
                "ansible_connection: box",
                f"box_leader: {box.leader}",
                "ansible_python_interpreter: /usr/bin/python3",
            )
            (host_vars / name).write_text("\n".join(lines), "utf-8")
        (host_vars / "balancer").write_text("ansible_python_interpreter: /usr/bin/python3", "utf-8")
        settings = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "ANSIBLE_CONNECTION_PLUGINS": str(TOP / "tests/box/connection_plugins"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "ansible/tmp"),
            "LC_ALL": "C.UTF-8",
        }
        ended = run(*words, *more, seconds=600, env=settings)
        self.output = ended.stdout.decode() + ended.stderr.decode()
        recap = re.findall(r"(?m)^(\w+) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+)", self.output)
        return {name: (int(changed), int(failed)) for name, changed, failed in recap if name in NAMES}

    def each(self, *words: str) -> list[str]:
        """The output of a command on each machine."""
        return [box.said(*words) for box in self.boxes.values()]


@pytest.fixture(scope="module")
def fleet(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The machines, with the package installed by the playbook."""
    with ExitStack() as stack:
        try:
            fleet = Fleet(stack, tmp_path_factory.mktemp("fleet"))
        except Lacking as lacking:
            pytest.skip(str(lacking))
        results = fleet.play(package)
        assert set(results) == set(NAMES), fleet.output
        assert {failed for _, failed in results.values()} == {0}, fleet.output
        assert fleet.each("systemctl", "is-enabled", "echod") == ["enabled"] * 3
        yield fleet


def pids(fleet: Fleet) -> list[str]:
    """The daemon's process on each machine."""
    return [box.show("echod", "MainPID") for box in fleet.boxes.values()]


def test_a_second_run_changes_nothing(fleet: Fleet, package: Path) -> None:
    before = pids(fleet)
    assert fleet.play(package) == dict.fromkeys(NAMES, (0, 0)), fleet.output
    assert pids(fleet) == before


def test_a_changed_configuration_is_a_reload_and_no_client_fails(fleet: Fleet, package: Path) -> None:
    before = pids(fleet)
    services = '{"echod_services": {"echo": 7007, "whoami": 7008, "upper": 7009}}'
    with Visits(fleet.network, 0.02) as visits:
        visits.wait_for(20)
        results = fleet.play(package, "-e", services)
        visits.wait_for(20)
    assert {failed for _, failed in results.values()} == {0}, fleet.output
    assert pids(fleet) == before
    assert all("upper" in text for text in fleet.each("echoctl", "status"))
    assert visits.results == {"served": visits.results["served"]}


def test_a_wrong_configuration_stops_at_the_first_server_and_changes_none(fleet: Fleet, package: Path) -> None:
    before = fleet.each("cat", "/etc/echod/echod.toml")
    results = fleet.play(package, "-e", '{"echod_services": {"ecko": 7007}}')
    assert results["one"][1] == 1
    assert "ecko" in fleet.output
    assert fleet.each("cat", "/etc/echod/echod.toml") == before


def test_an_upgrade_one_at_a_time_and_no_client_fails(fleet: Fleet, package: Path, tmp_path: Path) -> None:
    newer = upgraded(package, tmp_path, "99.1")
    before = pids(fleet)
    with Visits(fleet.network, 0.02) as visits:
        visits.wait_for(20)
        results = fleet.play(newer)
        visits.wait_for(20)
    assert set(results) == set(NAMES), fleet.output
    assert {failed for _, failed in results.values()} == {0}, fleet.output
    assert all(version.startswith("echod 99.1 ") for version in fleet.each("echod", "--version"))
    assert all(new != old for new, old in zip(pids(fleet), before, strict=True))
    assert visits.results == {"served": visits.results["served"]}
    shutil.rmtree(tmp_path)
