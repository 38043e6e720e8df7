"""An administrator installs the package, uses it, breaks and repairs the configuration, upgrades and removes it.

The tests are steps of one sequence on one machine, in this order; each can be run alone, after the installation.
"""

import re
import socket
import time
from pathlib import Path

import pytest

from tests.box.administration import CONFIGURATION, ENOUGH, asked, change, install, new_main, restart, status, upgraded
from tests.box.box import Box
from tests.box.load import Load, tcp, udp, unix
from tests.daemon import SECONDS, eventually

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools, pytest.mark.timeout(2400)]

EXPOSED = {"echod.service": 1.3, "echod-activated.service": 0.3}
LEFT = ("/etc/echod", "/usr/lib/echod", "/run/echod", "/var/lib/echod", "/usr/sbin/echod", "/usr/bin/echoctl")
NET_BIND_SERVICE = 1 << 10  # capabilities(7)


@pytest.fixture(scope="module")
def installed(box: Box, package: Path) -> Box:
    began = time.monotonic()
    install(box, package)
    answer = asked(box, tcp(7))
    print(f"from `apt install` to the first echo: {time.monotonic() - began:.1f} s")
    assert answer == b"hello"
    return box


@pytest.fixture(scope="module")
def activated(installed: Box) -> Box:
    """The same machine, with sockets that systemd opens; a Unix socket is added as an administrator would."""
    installed.put(
        "/etc/systemd/system/echod-echo.socket.d/unix.conf",
        "[Socket]\nListenStream=/run/echod/echo.sock\nSocketMode=0660\nSocketGroup=adm\n",
    )
    installed.said("systemctl", "disable", "--now", "echod.service")
    installed.said("systemctl", "daemon-reload")
    installed.said("systemctl", "enable", "--now", "echod-echo.socket", "echod-discard.socket")
    return installed


# as installed


def test_it_runs_and_is_enabled_at_boot(installed):
    assert installed.show("echod", "ActiveState", "UnitFileState", "Type", "NRestarts") == "active enabled notify 0"
    assert re.fullmatch(r"serving \d+ listeners?", installed.show("echod", "StatusText"))


@pytest.mark.parametrize("ask", [tcp(7), udp(7)], ids=["tcp", "udp"])
def test_echo_replies_on_its_well_known_port(ask, installed):
    assert asked(installed, ask, bytes(range(256))) == bytes(range(256))


def test_discard_reads_everything_on_its_well_known_port(installed):
    with installed.network(), socket.create_connection(("127.0.0.1", 9), SECONDS) as client:
        client.sendall(bytes(1 << 20))
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_it_does_not_run_as_root_and_may_only_open_low_ports(installed):
    found = status(installed, "echod")
    assert found["Uid"].split() == [installed.said("id", "--user", "echod")] * 4
    assert found["Uid"].split()[0] != "0"
    assert [int(found[name], 16) | NET_BIND_SERVICE for name in ("CapEff", "CapPrm", "CapBnd")] == [
        NET_BIND_SERVICE
    ] * 3
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_the_manual_and_the_completion_are_there(installed):
    for page in ("8 echod", "1 echoctl", "5 echod.toml"):
        assert installed.path(installed.said("man", "--where", *page.split())).exists()
    said = installed.said("bash", "-c", "source /usr/share/bash-completion/completions/echoctl; complete -p echoctl")
    assert said.endswith(" echoctl")


def test_systemd_accepts_the_units_without_a_warning(installed):
    units = [*EXPOSED, "echod-echo.socket", "echod-discard.socket"]
    said = installed.said("systemd-analyze", "verify", *units)
    assert [line for line in said.splitlines() if "echod" in line] == []  # it warns of other packages' units too


@pytest.mark.parametrize("unit", EXPOSED)
def test_the_exposure_level_of_a_service_is_low(unit, installed):
    said = installed.said("systemd-analyze", "security", "--no-pager", unit)
    exposed = re.search(r"Overall exposure level for \S+: ([0-9.]+) ", said)
    assert exposed, said
    print(f"{unit}: {exposed[1]}")
    assert float(exposed[1]) <= EXPOSED[unit]


def test_its_user_may_not_change_its_files(installed):
    assert not installed.run("find", "/usr/lib/echod", "/etc/echod", "-user", "echod").stdout
    assert installed.path("/usr/lib/echod/twisted/plugins/dropin.cache").exists()
    assert list(installed.path("/usr/lib/echod/echod/__pycache__").glob("tap.*.pyc"))


# the configuration


def test_a_wrong_configuration_is_refused_and_the_old_one_stays(installed):
    pid = installed.show("echod", "MainPID")
    before = change(installed, "[services.discard]", "[services.discrad]")
    ended = installed.run("systemctl", "reload", "echod")
    assert ended.returncode == 1
    assert 'unknown kind "discrad"; did you mean discard?' in installed.journal("echod")
    # A reload without systemd: the daemon itself reports the error, and keeps its configuration too.
    installed.said("systemctl", "kill", "--signal", "HUP", "echod")
    assert eventually(lambda: "refused" in installed.show("echod", "StatusText"))
    assert asked(installed, tcp(7)) == b"hello"
    installed.path(CONFIGURATION).write_text(before)
    assert installed.show("echod", "MainPID", "NRestarts") == f"{pid} 0"


def test_a_correct_configuration_is_loaded_without_a_restart(installed):
    pid = installed.show("echod", "MainPID")
    installed.put("/etc/echod/conf.d/time.toml", '[services.daytime]\nlisten = ["tcp://127.0.0.1:13"]\n')
    installed.said("systemctl", "reload", "echod")

    def answers():
        try:
            return asked(installed, tcp(13), b"").endswith(b"-UTC\r\n")
        except ConnectionRefusedError:
            return False

    assert eventually(answers)
    assert installed.show("echod", "MainPID", "NRestarts") == f"{pid} 0"
    installed.path("/etc/echod/conf.d/time.toml").unlink()
    installed.said("echoctl", "reload")
    with pytest.raises(ConnectionRefusedError):
        asked(installed, tcp(13))


def test_the_administrator_can_query_it(installed):
    said = installed.said("echoctl", "status")
    assert "tcp://127.0.0.1:7" in said
    assert installed.run("setpriv", "--reuid", "nobody", "--clear-groups", "echoctl", "status").returncode == 1


# failures


def test_a_killed_daemon_is_restarted(installed):
    pid = installed.show("echod", "MainPID")
    installed.said("systemctl", "kill", "--signal", "KILL", "echod")
    new_main(installed, "echod", pid)
    assert asked(installed, tcp(7)) == b"hello"


def test_a_hanging_daemon_is_detected_and_restarted(installed):
    drop_in = "/etc/systemd/system/echod.service.d/watchdog.conf"
    installed.put(drop_in, "[Service]\nWatchdogSec=6\n")
    installed.said("systemctl", "daemon-reload")
    restart(installed, "echod")
    pid = installed.show("echod", "MainPID")
    installed.said("systemctl", "kill", "--signal", "STOP", "echod")
    new_main(installed, "echod", pid)
    assert "Watchdog timeout" in installed.journal("echod")
    assert asked(installed, tcp(7)) == b"hello"
    installed.path(drop_in).unlink()
    installed.said("systemctl", "daemon-reload")
    restart(installed, "echod")


def test_a_start_with_a_wrong_configuration_logs_the_reason_and_is_not_repeated(installed):
    before = change(installed, "tcp://127.0.0.1:7", "tcp://127.0.0.1:70000")
    assert installed.run("systemctl", "restart", "echod").returncode == 1
    assert installed.show("echod", "ActiveState", "ExecMainStatus") == "failed 78"
    assert re.search(r"echod: /etc/echod/echod\.toml:\d+: services\.echo\.listen.*70000", installed.journal("echod"))
    installed.path(CONFIGURATION).write_text(before)
    restart(installed, "echod")
    assert asked(installed, tcp(7)) == b"hello"


# restarts and upgrades


@pytest.fixture(scope="module")
def everywhere(installed):
    """The requests during a restart; one goes to a Unix socket that the daemon opens itself."""
    listen = 'listen = ["unix:///run/echod/own.sock?mode=0666"]'
    installed.put("/etc/echod/conf.d/unix.toml", f'[services.local]\nkind = "echo"\n{listen}\n')
    restart(installed, "echod")
    return {"tcp": tcp(7), "udp": udp(7), "unix": unix(str(installed.path("/run/echod/own.sock")))}


def test_restarts_under_load_refuse_no_client(installed, everywhere):
    with Load(installed, **everywhere) as load:
        for _ in range(6):
            restart(installed, "echod")
    print(f"6 restarts: {load}")
    assert load.all_right, load


def test_a_restart_after_a_reload_of_socket_options_refuses_no_client(installed, everywhere):
    kept = installed.show("echod", "NFileDescriptorStore")
    before = change(installed, "tcp://127.0.0.1:7", "tcp://127.0.0.1:7?backlog=100&dscp=8")
    with Load(installed, **everywhere) as load:
        assert installed.said("echoctl", "reload").startswith("reloaded: 0 addresses opened, 0 closed")
        restart(installed, "echod")
        installed.path(CONFIGURATION).write_text(before)
        restart(installed, "echod")
    print(f"2 restarts, each with other options: {load}")
    assert load.all_right, load
    assert installed.show("echod", "NFileDescriptorStore") == kept


def test_upgrades_under_load_refuse_no_client(installed, everywhere, package, tmp_path):
    newer = [upgraded(package, tmp_path, f"0.1.0+{number}") for number in range(1, 6)]
    pid = installed.show("echod", "MainPID")
    with Load(installed, **everywhere) as load:
        for path in newer:
            install(installed, path)
    print(f"{len(newer)} upgrades: {load}")
    assert load.all_right, load
    assert installed.show("echod", "MainPID") != pid
    assert "0.1.0+5" in installed.said("echoctl", "status")


def test_an_upgrade_does_not_restart_a_daemon_that_could_not_start_again(installed, package, tmp_path):
    pid = installed.show("echod", "MainPID")
    before = change(installed, "[services.discard]", "[services.discrad]")
    said = install(installed, upgraded(package, tmp_path, "0.1.0+6"))
    installed.path(CONFIGURATION).write_text(before)
    assert f"The new echod refuses {CONFIGURATION}, and the old one continues to run" in said
    assert 'unknown kind "discrad"' in said
    assert installed.show("echod", "MainPID", "ActiveState") == f"{pid} active"
    assert asked(installed, tcp(7)) == b"hello"


def test_an_upgrade_does_not_start_a_stopped_service(installed, package, tmp_path):
    installed.said("systemctl", "stop", "echod")
    install(installed, upgraded(package, tmp_path, "0.1.0+7"))
    assert installed.show("echod", "ActiveState") == "inactive"
    installed.said("systemctl", "start", "echod")
    assert asked(installed, tcp(7)) == b"hello"


# socket activation


def test_its_sockets_record_the_destination_of_datagrams(activated):
    for unit in ("echod-echo.socket", "echod-discard.socket"):
        assert activated.show(unit, "PassPacketInfo") == "yes"


def test_the_daemon_starts_with_the_first_request(activated):
    assert activated.show("echod-activated", "ActiveState") == "inactive"
    assert asked(activated, udp(7)) == b"hello"
    assert eventually(lambda: activated.show("echod-activated", "ActiveState") == "active")


@pytest.mark.parametrize("transport", ["tcp", "udp", "unix"])
def test_a_socket_of_systemd_is_served(transport, activated):
    path = activated.path("/run/echod/echo.sock")
    ask = {"tcp": tcp(7), "udp": udp(7), "unix": unix(str(path))}[transport]
    assert asked(activated, ask, bytes(range(256))) == bytes(range(256))
    if transport == "unix":
        assert oct(path.stat().st_mode)[-4:] == "0660"
        assert path.group() == "adm"


def test_it_has_no_privilege_and_cannot_open_sockets(activated):
    found = status(activated, "echod-activated")
    assert [int(found[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")] == [0] * 5
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    pid = activated.show("echod-activated", "MainPID")
    assert activated.said("readlink", f"/proc/{pid}/ns/net") != activated.said("readlink", "/proc/1/ns/net")


def test_socket_activated_restarts_under_load_refuse_no_client(activated):
    path = str(activated.path("/run/echod/echo.sock"))
    with Load(activated, tcp=tcp(7), udp=udp(7), unix=unix(path)) as load:
        for _ in range(6):
            restart(activated, "echod-activated")
    print(f"6 restarts, socket-activated: {load}")
    assert load.all_right, load


def test_socket_activated_upgrades_under_load_refuse_no_client(activated, package, tmp_path):
    path = str(activated.path("/run/echod/echo.sock"))
    newer = [upgraded(package, tmp_path, f"0.1.0+{number}") for number in (8, 9)]
    with Load(activated, tcp=tcp(7), udp=udp(7), unix=unix(path)) as load:
        for new in newer:
            install(activated, new)
    print(f"{len(newer)} upgrades, socket-activated: {load}")
    assert load.all_right, load


def test_a_stopped_daemon_starts_with_the_next_request(activated):
    activated.said("systemctl", "stop", "echod-activated")
    assert activated.show("echod-activated", "ActiveState", "Result") == "inactive success"
    assert asked(activated, tcp(7)) == b"hello"


# removal


def test_a_removal_keeps_only_the_configuration(activated):
    change(activated, "[services.discard]", "# mine\n[services.discard]")
    said = activated.said("apt-get", "remove", "--yes", "--quiet", "echod", seconds=ENOUGH)
    assert "warning" not in said
    assert activated.path(CONFIGURATION).exists()
    assert not activated.path("/usr/lib/echod").exists()
    with pytest.raises(ConnectionRefusedError):
        asked(activated, tcp(7))
    assert not activated.run("pgrep", "--uid", "echod").stdout


def test_a_second_installation_uses_the_kept_configuration(activated, package):
    install(activated, package)
    assert "# mine" in activated.path(CONFIGURATION).read_text()


def test_a_purge_leaves_nothing(activated):
    activated.put("/etc/echod/conf.d/mine.toml", "")
    said = activated.said("apt-get", "purge", "--yes", "--quiet", "echod", seconds=ENOUGH)
    assert "not empty" not in said
    assert [path for path in LEFT if activated.path(path).exists()] == []
    assert activated.run("getent", "passwd", "echod").returncode == 2
    assert activated.run("systemctl", "list-unit-files", "echod*", "--no-legend").stdout == ""
    assert activated.said("systemctl", "list-units", "--failed", "--no-legend") == ""
    state = activated.run("find", "/etc/systemd", "/var/lib/systemd", "/lib/systemd", "/usr/lib", "-name", "*echod*")
    assert [line for line in state.stdout.splitlines() if not line.endswith(".socket.d")] == []
