"""The units are right for systemd, and as closed as we say."""

import re
import shutil
from pathlib import Path

import pytest

from tests.daemon import TOP, run

pytestmark = [
    pytest.mark.system_wide,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here"),
]

SYSTEMD = TOP / "systemd"
OTHERS = ("redis-server.service", "chrony.service", "haproxy.service")
EXPOSED = {"echod.service": 1.3, "echod-activated.service": 0.3}


@pytest.fixture(scope="module")
def units(tmp_path_factory) -> Path:
    """The units, with a program that every machine has: where ours is not installed, that is no fault of theirs."""
    folder: Path = tmp_path_factory.mktemp("units")
    for path in [*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.socket")]:
        (folder / path.name).write_text(path.read_text().replace("/usr/sbin/echod", "/bin/true"))
    return folder


def test_systemd_has_nothing_to_say_about_them(units):
    ended = run("systemd-analyze", "verify", "--man=no", *sorted(units.iterdir()), cwd=units)
    # What is wrong is only printed; what other units of this machine get wrong is told, too.
    said = [line for line in (ended.stdout + ended.stderr).decode().splitlines() if "echod" in line]
    assert said == []


def test_a_socket_of_datagrams_notes_from_the_first_where_they_were_sent_to():
    for path in SYSTEMD.glob("*.socket"):
        text = path.read_text()
        assert ("ListenDatagram=" in text) == ("PassPacketInfo=yes" in text), path


def test_runtime_directories_outlive_a_restart_and_what_is_theirs_a_stop():
    """Unix sockets of the daemon go on over a restart; those of a socket unit live there while the daemon is down."""
    for path in SYSTEMD.glob("*.service"):
        text = path.read_text()
        assert ("RuntimeDirectory=" in text) == ("RuntimeDirectoryPreserve=yes" in text), path


def exposure(path):
    """What systemd makes of a unit: 0 is safe, 10 is not."""
    ended = run("systemd-analyze", "security", "--offline=true", "--no-pager", path)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+) ", ended.stdout.decode())
    assert found, ended
    print(f"{path.name}: {found[1]}")
    return float(found[1])


@pytest.mark.parametrize("name", EXPOSED)
def test_how_far_a_service_is_exposed(name):
    assert exposure(SYSTEMD / name) <= EXPOSED[name]


@pytest.mark.parametrize("name", OTHERS)
def test_how_far_others_are(name):
    path = TOP / "build" / "beside" / name
    if not path.exists():
        pytest.skip("there are no units of others here; tests/system_wide/prepare fetches them")
    assert exposure(path) > exposure(SYSTEMD / "echod-activated.service")


def test_a_wrong_unit_would_be_noticed(units, tmp_path):
    wrong = tmp_path / "echod-wrong.service"
    wrong.write_text((units / "echod.service").read_text().replace("ProtectHome=", "ProtectHouse="))
    ended = run("systemd-analyze", "verify", "--man=no", wrong)
    assert b"ProtectHouse" in ended.stdout + ended.stderr
