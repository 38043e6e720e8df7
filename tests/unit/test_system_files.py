"""What the packages install says the same everywhere: the units, their sockets and the two configurations."""

import configparser
from pathlib import Path

import pytest

from echod.config.loading import load
from echod.services.registry import kinds

SYSTEMD = Path(__file__).parents[2] / "systemd"
SOCKETS = sorted(SYSTEMD.glob("*.socket"))


class Repeated(dict[str, list[str]]):
    """A section in which a key may stand more than once."""

    def __setitem__(self, key, value):
        super().__setitem__(key, [*self.get(key, []), *value] if isinstance(value, list) else value)


def unit(name):
    """The sections of a unit: keys and all their values, in order (systemd.syntax(7))."""
    parser = configparser.RawConfigParser(strict=False, dict_type=Repeated, delimiters=("=",), comment_prefixes="#")
    parser.optionxform = str
    parser.read(SYSTEMD / name, "utf-8")
    return {section: {key: value.split("\n") for key, value in parser.items(section)} for section in parser.sections()}


def places(name):
    """What a configuration serves: service and address."""
    found = load(SYSTEMD / name, kinds(plugins=()), {})
    return {(service.name, address.scheme, address.place) for service in found.services for address in service.listen}


def test_the_packaged_configuration_serves_echo_and_discard_on_their_ports_to_this_machine():
    assert places("echod.toml") == {
        (name, scheme, f"{scheme}://127.0.0.1:{port}")
        for name, port in (("echo", 7), ("discard", 9))
        for scheme in ("tcp", "udp")
    }


@pytest.mark.parametrize("path", SOCKETS, ids=lambda path: path.stem)
def test_a_socket_unit_opens_what_the_daemon_would(path):
    opened = unit(path.name)["Socket"]
    [name] = opened["FileDescriptorName"]
    assert path.stem == f"echod-{name}"
    of_daemon = {place for service, _, place in places("echod.toml") if service == name}
    assert of_daemon == {f"tcp://{each}" for each in opened["ListenStream"]} | {
        f"udp://{each}" for each in opened["ListenDatagram"]
    }
    assert opened["Service"] == ["echod-activated.service"]
    assert unit(path.name)["Unit"]["Conflicts"] == ["echod.service"]


def test_what_is_passed_is_what_is_served():
    assert places("activated.toml") == {
        (name, "systemd", f"systemd:{name}") for name in (path.stem.removeprefix("echod-") for path in SOCKETS)
    }
    activated = unit("echod-activated.service")
    every = [" ".join(path.name for path in reversed(SOCKETS))]
    assert activated["Service"]["Sockets"] == activated["Unit"]["Requires"] == activated["Install"]["Also"] == every


def test_the_two_services_differ_in_what_they_are_for_and_in_nothing_else():
    own, activated = unit("echod.service")["Service"], unit("echod-activated.service")["Service"]
    assert {key for key in own.keys() | activated.keys() if own.get(key) != activated.get(key)} == {
        "AmbientCapabilities", "CapabilityBoundingSet", "ExecStart", "FileDescriptorStoreMax", "IPAddressAllow",
        "PrivateNetwork", "PrivateUsers", "RestrictAddressFamilies", "RuntimeDirectory", "RuntimeDirectoryMode",
        "RuntimeDirectoryPreserve", "Sockets",
    }  # fmt: skip
    assert activated["CapabilityBoundingSet"] == [""]


@pytest.mark.parametrize("name", ["echod.service", "echod-activated.service"])
def test_a_service_runs_as_the_user_that_is_made_for_it(name):
    [user] = [
        line.split()[1] for line in (SYSTEMD / "echod.sysusers").read_text().splitlines() if line.startswith("u ")
    ]
    service = unit(name)["Service"]
    assert service["User"] == service["Group"] == [user]
    [directory] = [
        line.split()[1:5] for line in (SYSTEMD / "echod.tmpfiles").read_text().splitlines() if line.startswith("d ")
    ]
    assert directory == ["/run/echod", "0755", user, user]


def test_the_configurations_are_those_of_the_units():
    for name, path in (
        ("echod.service", "/etc/echod/echod.toml"),
        ("echod-activated.service", "/etc/echod/activated/echod.toml"),
    ):
        assert unit(name)["Service"]["ExecStart"] == [f"/usr/sbin/echod --config {path}"]
