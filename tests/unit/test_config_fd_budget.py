"""Configured connections, compared with the limit of open files."""

from pathlib import Path

import pytest

from echod.config.errors import ConfigurationError
from echod.config.fd_budget import APART, fit
from echod.config.loading import load
from echod.gate.admin_limits import admin_limits
from echod.services.registry import kinds

ECHO = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
UPPER = '[services.upper]\nlisten = ["tcp://127.0.0.1:0"]\n'


def configured(directory: Path, text: str):
    file = directory / "echod.toml"
    file.write_text(text)
    return load(file, kinds(), {})


def test_defaults_are_reduced_to_the_limit(tmp_path):
    configuration, lines = fit(configured(tmp_path, ECHO + UPPER), 100 + APART)
    assert [service.limits.connections for service in configuration.services] == [100, 100]
    assert lines == ["connections reduced to 100, because the limit of open files is 164: echo, upper"]
    assert fit(configuration, 100 + APART) == (configuration, [])


def test_many_addresses_reduce_the_limit(tmp_path):
    listen = ", ".join(f'"tcp://127.0.0.1:{port}"' for port in range(1, 101))
    configuration, _lines = fit(configured(tmp_path, f"[services.echo]\nlisten = [{listen}]\n"), 1024)
    assert configuration.services[0].limits.connections == 1024 - APART - 4 * (100 - 12)


def test_each_port_of_a_range_counts(tmp_path):
    text = '[services.echo]\nlisten = ["tcp://127.0.0.1:1-100"]\n'
    configuration, _lines = fit(configured(tmp_path, text), 1024)
    assert configuration.services[0].limits.connections == 1024 - APART - 4 * (100 - 12)


def test_a_configured_limit_must_fit(tmp_path):
    text = ECHO + "limits = { connections = 101 }\n" + UPPER + "[defaults.limits]\nconnections = 102\n"
    drop_ins = tmp_path / "conf.d"
    drop_ins.mkdir()
    (drop_ins / "b.toml").write_text('[services."x.y"]\nkind = "echo"\nlisten = ["udp://127.0.0.1:0"]\n')
    with pytest.raises(ConfigurationError) as caught:
        fit(configured(tmp_path, text), 100 + APART)
    right = "expected at most 100, or a higher limit (LimitNOFILE= in a unit, ulimit -n)"
    file, fits = tmp_path / "echod.toml", "64 exceed the hard limit of 164 open files"
    assert list(map(str, caught.value.errors)) == [
        f"{file}:{ECHO.count(chr(10)) + 1}: services.echo.limits.connections: 101 + {fits}; {right}",
        f"{file}:{text.count(chr(10))}: defaults.limits.connections: 102 + {fits}; {right}",
    ]


ADMIN = '[admin]\nlisten = ["unix:///run/echod/admin.sock"]\n'


@pytest.mark.parametrize("files", [164, 1024, 4096])
def test_the_connections_of_the_admin_interface_are_not_for_services(files, tmp_path):
    configuration, _lines = fit(configured(tmp_path, ADMIN + ECHO), files)
    reserved = admin_limits(files).connections
    assert 0 < reserved <= files // 8
    assert configuration.services[0].limits.connections == files - APART - reserved
    most = files - APART - reserved
    fits = f"{ADMIN}{ECHO}limits = {{ connections = {most} }}\n"
    assert fit(configured(tmp_path, fits), files)[1] == []
    with pytest.raises(ConfigurationError, match=f"expected at most {most}, or a higher limit"):
        fit(configured(tmp_path, fits.replace(f"= {most} ", f"= {most + 1} ")), files)


def test_with_workers_the_parent_serves_the_admin_interface_and_no_clients(tmp_path):
    configuration, _lines = fit(configured(tmp_path, f"[daemon]\nworkers = 2\n{ADMIN}{ECHO}"), 1024)
    assert configuration.services[0].limits.connections == 1024 - APART
