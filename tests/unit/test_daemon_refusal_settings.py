"""The key that causes a refusal exists, and is printed with its value."""

import ipaddress
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from echod.config.settings import ServiceConfig
from echod.daemon.refusal_settings import KEYS, settings_of
from echod.gate.refusal import Refusal
from echod.model import NoOptions
from echod.services.echo import Echo

SERVICE = ServiceConfig("echo", Echo, NoOptions(), ())
OF_THE_DATAGRAM = {"source-address", "destination", "nameless", "truncated", "repeat"}
OF_THE_MACHINE = {"send", "kernel", "accept", "delayed"}


@pytest.mark.parametrize("reason", KEYS, ids=str)
def test_each_key_is_one_of_a_service(reason):
    found = settings_of(SERVICE, [reason], {})[str(reason)]
    assert found["origin"] == "default"
    table, _, key = f"services.echo.{KEYS[reason]}".rpartition(".")
    assert found["table"] == table
    assert list(tomllib.loads(found["line"])) == [key]


def test_every_other_reason_has_no_key():
    assert {str(reason) for reason in Refusal} - {str(reason) for reason in KEYS} == OF_THE_DATAGRAM | OF_THE_MACHINE
    assert settings_of(SERVICE, [Refusal.KERNEL], {}) == {}


def test_a_denied_host_has_both_lists_if_deny_has_a_network():
    """A network in both lists is denied, so another line in `allow` alone would not help."""
    service = replace(SERVICE, deny=(ipaddress.ip_network("127.0.0.9/32"),))
    [found] = settings_of(service, [Refusal.DENIED], {"services.echo.deny": (Path("echod.toml"),)}).values()
    assert (found["table"], found["origin"]) == ("services.echo", "echod.toml")
    assert list(tomllib.loads(found["line"])) == ["allow", "deny"]
    [found] = settings_of(service, [Refusal.DENIED], {}).values()
    assert found["origin"] == "default"
