"""systemd accepts the units, and rates them as secure as documented."""

import re
import shutil
from pathlib import Path

import pytest

from tests.daemon import TOP, run

pytestmark = [
    pytest.mark.needs_tools,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"),
]

SYSTEMD = TOP / "systemd"
OTHERS = ("redis-server.service", "chrony.service", "haproxy.service")
EXPOSED = {"echod.service": 1.3, "echod-activated.service": 0.3}


@pytest.fixture(scope="module")
def units(tmp_path_factory) -> Path:
    """The units, with a program that every machine has: echod itself may not be installed."""
    folder: Path = tmp_path_factory.mktemp("units")
    for path in [*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.socket")]:
        (folder / path.name).write_text(path.read_text().replace("/usr/sbin/echod", "/bin/true"))
    return folder


def test_systemd_accepts_the_units_without_a_warning(units):
    ended = run("systemd-analyze", "verify", "--man=no", *sorted(units.iterdir()), cwd=units)
    # systemd-analyze only prints errors, and also prints those of the machine's other units.
    said = [line for line in (ended.stdout + ended.stderr).decode().splitlines() if "echod" in line]
    assert said == []


def test_a_datagram_socket_unit_records_destinations_from_the_start():
    for path in SYSTEMD.glob("*.socket"):
        text = path.read_text()
        assert ("ListenDatagram=" in text) == ("PassPacketInfo=yes" in text), path


def test_runtime_directories_survive_a_restart_and_socket_units_a_stop():
    """Unix sockets of the daemon stay over a restart; those of a socket unit stay in it while the daemon is stopped."""
    for path in SYSTEMD.glob("*.service"):
        text = path.read_text()
        assert ("RuntimeDirectory=" in text) == ("RuntimeDirectoryPreserve=yes" in text), path


def exposure(path):
    """systemd's exposure level of a unit: 0 is safe, 10 is unsafe."""
    ended = run("systemd-analyze", "security", "--offline=true", "--no-pager", path)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+) ", ended.stdout.decode())
    assert found, ended
    print(f"{path.name}: {found[1]}")
    return float(found[1])


@pytest.mark.parametrize("name", EXPOSED)
def test_the_exposure_level_of_a_service_is_low(name):
    assert exposure(SYSTEMD / name) <= EXPOSED[name]


@pytest.mark.parametrize("name", OTHERS)
def test_the_exposure_levels_of_other_servers(name):
    path = TOP / "build" / "beside" / name
    if not path.exists():
        pytest.skip("the units for comparison are not installed; tests/system_wide/prepare fetches them")
    assert exposure(path) > exposure(SYSTEMD / "echod-activated.service")


def test_a_wrong_unit_is_detected(units, tmp_path):
    wrong = tmp_path / "echod-wrong.service"
    wrong.write_text((units / "echod.service").read_text().replace("ProtectHome=", "ProtectHouse="))
    ended = run("systemd-analyze", "verify", "--man=no", wrong)
    assert b"ProtectHouse" in ended.stdout + ended.stderr
