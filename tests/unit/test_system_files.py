"""The installed files agree with each other: the units, their sockets and the two configurations."""

from pathlib import Path

import pytest

from echod.config.loading import load
from echod.services.registry import kinds

SYSTEMD = Path(__file__).parents[2] / "systemd"
SOCKETS = sorted(SYSTEMD.glob("*.socket"))


def unit(name):
    """The sections of a unit: keys and all their values, in order (systemd.syntax(7))."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in (SYSTEMD / name).read_text("utf-8").splitlines():
        if line.startswith("["):
            section = sections[line.strip("[]")] = {}
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def columns(name, kind):
    """The words of the only line of a sysusers.d or tmpfiles.d file."""
    [line] = [line.split() for line in (SYSTEMD / name).read_text("utf-8").splitlines() if not line.startswith("#")]
    assert line[0] == kind
    return line[1:]


def places(name):
    """The services and addresses of a configuration."""
    found = load(SYSTEMD / name, kinds(plugins=()), {})
    return {(service.name, address.scheme, address.label) for service in found.services for address in service.listen}


def test_the_packaged_configuration_serves_echo_and_discard_on_loopback():
    assert places("echod.toml") == {
        (name, scheme, f"{scheme}://127.0.0.1:{port}")
        for name, port in (("echo", 7), ("discard", 9))
        for scheme in ("tcp", "udp")
    }


@pytest.mark.parametrize("path", SOCKETS, ids=lambda path: path.stem)
def test_a_socket_unit_opens_the_sockets_of_the_daemon(path):
    opened = unit(path.name)["Socket"]
    [name] = opened["FileDescriptorName"]
    assert path.stem == f"echod-{name}"
    of_daemon = {place for service, _, place in places("echod.toml") if service == name}
    assert of_daemon == {f"tcp://{each}" for each in opened["ListenStream"]} | {
        f"udp://{each}" for each in opened["ListenDatagram"]
    }
    assert opened["Service"] == ["echod-activated.service"]
    assert unit(path.name)["Unit"]["Conflicts"] == ["echod.service"]


def test_the_passed_sockets_are_the_served_ones():
    assert places("activated.toml") == {
        (name, "systemd", f"systemd:{name}") for name in (path.stem.removeprefix("echod-") for path in SOCKETS)
    }
    activated = unit("echod-activated.service")
    every = [" ".join(path.name for path in reversed(SOCKETS))]
    assert activated["Service"]["Sockets"] == activated["Unit"]["Requires"] == activated["Install"]["Also"] == every


def test_the_two_services_differ_only_in_necessary_settings():
    own, activated = unit("echod.service")["Service"], unit("echod-activated.service")["Service"]
    assert {key for key in own.keys() | activated.keys() if own.get(key) != activated.get(key)} == {
        "AmbientCapabilities", "CapabilityBoundingSet", "ExecReload", "ExecStart", "FileDescriptorStoreMax",
        "IPAddressAllow", "PrivateNetwork", "PrivateUsers", "RestrictAddressFamilies", "Sockets",
    }  # fmt: skip
    assert activated["CapabilityBoundingSet"] == [""]


@pytest.mark.parametrize(
    ("name", "configuration"),
    [("echod.service", "/etc/echod/echod.toml"), ("echod-activated.service", "/etc/echod/activated/echod.toml")],
)
def test_the_user_and_the_configuration_of_a_service_are_installed(name, configuration):
    user = columns("echod.sysusers", "u")[0]
    service = unit(name)["Service"]
    assert service["User"] == service["Group"] == [user]
    assert service["ExecStart"] == [f"/usr/sbin/echod --config {configuration}"]


def test_the_directory_of_sockets_is_the_same_for_all():
    path, mode, user, group, *_ = columns("echod.tmpfiles", "d")
    own = unit("echod.service")["Service"]
    assert [path] == [f"/run/{name}" for name in own["RuntimeDirectory"]]
    assert [mode] == own["RuntimeDirectoryMode"]
    assert [user] == [group] == own["User"]
