"""The list of addresses of a configuration."""

from pathlib import Path

import pytest

from echod.config.address_listing import exposed, listeners, unused_keys, warnings
from echod.config.loading import load
from echod.services.echo import Echo
from echod.services.upper import Upper


def test_listeners(monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/of us")
    configuration = load(None, {"echo": Echo, "upper": Upper}, {}, system=Path("/nowhere/echod.toml"))
    assert list(listeners(configuration)) == [
        "echo   tcp://127.0.0.1:10007",
        "echo   udp://127.0.0.1:10007",
        "upper  tcp://127.0.0.1:10008",
        "upper  udp://127.0.0.1:10008",
        "admin  unix:///run/of%20us/admin.sock",
    ]


def test_proxies_that_no_address_expects_are_reported(tmp_path):
    file = tmp_path / "echod.toml"
    for option, said in (
        ("", ["defaults.proxy-from has no effect: no address has ?proxy=, such as tcp://*:7?proxy=any"]),
        ("?proxy=v2", []),
    ):
        file.write_text(
            f'[defaults]\nproxy-from = ["192.0.2.5"]\n[services.echo]\nlisten = ["tcp://127.0.0.1:7{option}"]\n'
        )
        configuration = load(file, {"echo": Echo}, {})
        assert list(unused_keys(configuration)) == list(warnings(configuration)) == said


HOSTS = "admin.hosts has no effect: admin.listen has no address such as tcp://127.0.0.1:10090"
GROUP = "admin.group has no effect: admin.listen has no address such as unix://%t/admin.sock"


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        (["unix:///run/a", "unix:///run/b"], [HOSTS]),
        (["tcp://127.0.0.1:8", "tcp://[::1]:8"], [GROUP]),
        (["unix:///run/a", "tcp://127.0.0.1:8"], []),
        ([], []),
    ],
    ids=["unix", "tcp", "both", "disabled"],
)
def test_keys_of_the_admin_interface_that_no_address_uses_are_reported(listen, said, tmp_path):
    file = tmp_path / "echod.toml"
    service = '[services.echo]\nlisten = ["tcp://127.0.0.1:7"]\n'
    file.write_text(f'[admin]\nlisten = {listen}\nhosts = ["a.example"]\ngroup = "adm"\n{service}')
    configuration = load(file, {"echo": Echo}, {})
    assert list(unused_keys(configuration)) == list(warnings(configuration)) == said
    file.write_text(f"[admin]\nlisten = {listen}\n{service}")
    assert list(unused_keys(load(file, {"echo": Echo}, {}))) == []


def test_an_address_that_the_network_reaches_but_no_network_may_use_is_reported(tmp_path):
    file = tmp_path / "echod.toml"
    file.write_text('[services.echo]\nlisten = ["tcp://127.0.0.1:7"]\n')
    [service] = load(file, {"echo": Echo}, {}).services
    said = "echo  tcp://*:7 is open to the network, but only loopback is allowed: see allow"
    assert list(exposed(service, "tcp://*:7", loopback=False)) == [said]
    assert list(exposed(service, "tcp://*:7", loopback=True)) == []
    file.write_text('[services.echo]\nlisten = ["tcp://*:7"]\nallow = ["192.0.2.0/24"]\n')
    [service] = load(file, {"echo": Echo}, {}).services
    assert list(exposed(service, "tcp://*:7", loopback=False)) == []
