"""The list of addresses of a configuration."""

from pathlib import Path

from echod.config.listing import listeners
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
