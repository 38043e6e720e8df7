"""The checks of `echoctl doctor`, each with made-up machines: one that it reports, and one that it does not."""

from __future__ import annotations

import errno
from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from echod.client.commands import doctor
from echod.client.doctor.certificate_renewal import renewal, renewal_after
from echod.client.doctor.checks import findings
from echod.client.doctor.machine_facts import (
    CAP_NET_BIND_SERVICE,
    BoundInet,
    DroppingRule,
    FileSystem,
    Finding,
    Folder,
    Holder,
    Machine,
    Process,
    check_form,
)
from echod.config.errors import ConfigurationError
from echod.config.loading import load
from echod.config.settings import Configuration
from echod.measurement.clock_quality import UNKNOWN
from echod.services.registry import kinds
from echod.tls import issuing
from tests.daemon import TOP

NOW = datetime.now(UTC).replace(hour=12) + timedelta(days=1000)
DAEMON = Process(
    4211, is_daemon=True, user=0, open_files=65_536, capabilities=CAP_NET_BIND_SERVICE, cpus=2, unit="echod.service"
)
SHELL = replace(DAEMON, pid=77, is_daemon=False, user=1000, capabilities=0, unit="")
SYSCTLS = {
    "net.core.somaxconn": "4096",
    "net.core.rmem_max": "212992",
    "net.core.netdev_max_backlog": "1000",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.ipv4.ip_local_reserved_ports": "",
    "net.ipv4.ip_unprivileged_port_start": "1024",
    "net.ipv4.tcp_mem": "287898\t383866\t575796",
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.lo.disable_ipv6": "0",
}
ORDINARY = Machine(DAEMON, SYSCTLS, memory=4 << 30, now=NOW, seconds=1.0)
ECHO = '[admin]\nlisten = ["unix:///run/x/admin.sock"]\n[services.echo]\nlisten = ["tcp://127.0.0.1:7007"]\n'
ADMIN = '[admin]\nlisten = ["unix:///run/x/admin.sock"]\n'
TCP = '[services.echo]\nlisten = ["tcp://127.0.0.1:7007"]\n'
UDP = '[services.echo]\nlisten = ["udp://127.0.0.1:7007"]\n'


def listener(refused: dict[str, int] | None = None, address: str = "tcp://127.0.0.1:7007") -> dict[str, Any]:
    return {"name": "echo", "listeners": [{"address": address, "refused": refused or {}, "open": 3}]}


def status(**more: Any) -> dict[str, Any]:
    own = {"pid": 4211, "ready": True, "last_reload": None, "lines_lost": 0, "internal_errors": 0}
    return {**own, "services": [listener()], **more}


def configured(folder: Path, text: str) -> Configuration:
    file = folder / "echod.toml"
    file.write_text(text)
    return load(file, kinds(), {})


def found(folder: Path, text: str, **facts: Any) -> list[Finding]:
    """The findings about a machine that runs the daemon, without those that it has without `facts`."""
    machine = replace(ORDINARY, status=status(), **facts) if "status" not in facts else replace(ORDINARY, **facts)
    return findings(configured(folder, text), machine)


def only(folder: Path, text: str, **facts: Any) -> Finding:
    [one] = found(folder, text, **facts)
    return one


@pytest.mark.parametrize("text", [ECHO, UDP, (TOP / "etc" / "echod.toml").read_text()], ids=["tcp", "udp", "shipped"])
def test_an_ordinary_machine_has_no_problem(text, tmp_path):
    running = [one for one in found(tmp_path, text) if one.check != "admin"]
    assert running == []
    stopped = found(tmp_path, text, process=SHELL, status=None, unanswered="no daemon answers")
    assert {(one.severity, one.check) for one in stopped} == {("notice", "admin")}


def test_the_packaged_configuration_has_no_problem_under_its_unit(tmp_path):
    text = (TOP / "systemd" / "echod.toml").read_text().replace("%t", "/run/echod")
    assert found(tmp_path, text, process=replace(DAEMON, memory=1196 << 20)) == []


def taken(*holders: Holder, host: str = "127.0.0.1") -> dict[str, Any]:
    return {
        "sockets": (BoundInet(False, host, 7007, holders=holders),),
        "bind_errors": {"tcp://127.0.0.1:7007": errno.EADDRINUSE},
        "status": None,
        "process": replace(SHELL, capabilities=CAP_NET_BIND_SERVICE),
    }


@pytest.mark.parametrize(
    ("holder", "command"),
    [
        (Holder(31, "socat TCP-LISTEN:7007 -"), "kill 31"),
        (Holder(31, "nginx: master", "nginx.service"), "systemctl stop nginx.service"),
        (Holder(1, "/sbin/init"), "systemctl stop $(systemctl list-sockets --plain --no-legend |"),
    ],
    ids=["process", "unit", "systemd"],
)
def test_a_taken_port_names_the_process(holder, command, tmp_path):
    one, *_ = found(tmp_path, ECHO, **taken(holder))
    assert (one.severity, one.check, one.what) == ("error", "ports", "tcp://127.0.0.1:7007: taken")
    assert f"process {holder.pid} ({holder.command})" in one.found
    assert one.command.startswith(command)


def test_a_port_of_another_user_is_taken_without_a_command(tmp_path):
    one, *_ = found(tmp_path, ECHO, **taken(host="0.0.0.0"))
    assert (one.severity, one.command) == ("error", "")
    assert "as root" in one.found


@pytest.mark.parametrize("host", ["127.0.0.9", "::1"])
def test_a_socket_with_another_host_takes_nothing(host, tmp_path):
    assert [one.check for one in found(tmp_path, ECHO, **taken(Holder(31, "socat"), host=host))] == ["admin"]


def test_the_daemon_does_not_take_its_own_port(tmp_path):
    facts = taken(Holder(4211, "python -m echod"))
    assert found(tmp_path, ECHO, **{**facts, "process": DAEMON, "status": status(services=[])}) == []
    assert found(tmp_path, ECHO, **{**facts, "process": DAEMON, "status": status()}) == []
    echod = Holder(31, "/usr/bin/python3 /usr/sbin/echod --config x")
    for text, denied, severity in ((ECHO, False, "error"), (ECHO, True, "notice"), (TCP, False, "notice")):
        served = found(tmp_path, text, **taken(echod), denied=denied, no_daemon=not denied)
        assert {one.check: one.severity for one in served} == {"ports": severity, "admin": "notice"}


def test_a_user_who_may_not_ask_gets_no_false_alarm(tmp_path):
    """The sockets of the daemon have no visible process, and the limits of the shell do not matter."""
    text = ECHO.replace("7007", "7") + "[services.echo.limits]\nconnections = 5000\n"
    facts = {
        "sockets": (BoundInet(False, "127.0.0.1", 7),),
        "bind_errors": {"tcp://127.0.0.1:7": errno.EACCES},
        "folders": {"/run/x/admin.sock": Folder(True, writable=False)},
        "process": replace(SHELL, open_files=1024),
        "status": None,
    }
    denied = found(tmp_path, text, **facts, unanswered="permission denied", no_daemon=False, denied=True)
    assert [(one.severity, one.check) for one in denied] == [("notice", "ports"), ("notice", "admin")]
    assert {one.severity for one in found(tmp_path, text, **facts)} == {"error", "notice"}


def test_many_taken_ports_are_one_finding(tmp_path):
    facts = taken(Holder(31, "socat"))
    other = replace(facts["sockets"][0], port=7008)
    facts["sockets"] += (other,)
    facts["bind_errors"]["tcp://127.0.0.1:7008"] = errno.EADDRINUSE
    one, *_ = found(tmp_path, ECHO.replace("7007", "7007-7008"), **facts)
    assert one.what == "tcp://127.0.0.1:7007 and 1 other: taken"


def test_the_packaged_daemon_is_started_by_its_unit(tmp_path):
    configuration = configured(tmp_path, ECHO.replace("7007", "7"))
    packaged = replace(configuration, sources=(Path("/etc/echod/echod.toml"),))
    [one] = findings(packaged, replace(ORDINARY, status=status(), process=replace(DAEMON, capabilities=0)))
    assert one.command == "systemctl start echod"


def test_a_folder_of_two_sockets_is_reported_once(tmp_path):
    text = ECHO.replace('"tcp:', '"unix:///run/x/echo.sock", "tcp:')
    folders = dict.fromkeys(("/run/x/admin.sock", "/run/x/echo.sock"), Folder(False, writable=False))
    assert only(tmp_path, text, folders=folders).check == "unix-folders"


def test_a_folder_that_the_daemon_makes(tmp_path):
    made = {"/run/x/admin.sock": Folder(False, writable=False, is_made=True)}
    assert found(tmp_path, ECHO, folders=made) == []


def test_an_address_that_cannot_be_bound_for_another_reason(tmp_path):
    one = only(tmp_path, ECHO, bind_errors={"tcp://127.0.0.1:7007": errno.EPERM})
    assert (one.severity, one.found) == ("error", "operation not permitted (EPERM)")


def test_without_a_file_no_drop_in_is_suggested(tmp_path):
    configuration = replace(configured(tmp_path, ECHO), sources=())
    [one] = findings(configuration, replace(ORDINARY, status=status(), memory=1 << 20))
    assert (one.check, one.command) == ("memory", "")


def test_a_missing_address_and_a_missing_interface(tmp_path):
    text = '[services.echo]\nlisten = ["tcp://192.0.2.7:7007", "tcp://192.0.2.8:7007?retry=5s"]\n'
    errors = {f"tcp://192.0.2.{host}:7007": errno.EADDRNOTAVAIL for host in (7, 8)}
    one, *others = found(tmp_path, text, bind_errors=errors)
    assert (one.severity, one.found, one.command) == ("error", "192.0.2.7", "ip address add 192.0.2.7/32 dev lo")
    assert [other.check for other in others] == []
    text = '[services.echo]\nlisten = ["udp://*:7007?interface=eth9"]\n'
    assert only(tmp_path, text, interfaces=frozenset({"lo", "eth0"})).needed == "one of eth0, lo"
    assert found(tmp_path, text, interfaces=frozenset({"eth9"})) == []


def test_disabled_ipv6(tmp_path):
    text = '[services.echo]\nlisten = ["tcp://[::1]:7007"]\n'
    off = {**SYSCTLS, "net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.lo.disable_ipv6": "1"}
    one = only(tmp_path, text, sysctls=off, bind_errors={"tcp://[::1]:7007": errno.EADDRNOTAVAIL})
    assert one.command == "sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0"
    assert only(tmp_path, ECHO.replace("127.0.0.1", "*"), sysctls=off).severity == "notice"


def test_a_low_port_needs_the_capability(tmp_path):
    text = ECHO.replace("7007", "7")
    one = only(tmp_path, text, process=replace(DAEMON, capabilities=0))
    assert (one.severity, one.command) == ("error", "sysctl -w net.ipv4.ip_unprivileged_port_start=7")
    assert found(tmp_path, text) == []
    served = status(services=[listener(address="tcp://127.0.0.1:7")])
    assert found(tmp_path, text, process=replace(DAEMON, capabilities=0), status=served) == []


def test_a_port_of_the_ephemeral_range_is_reserved(tmp_path):
    text = ECHO.replace("7007", "40000")
    one = only(tmp_path, text, sysctls={**SYSCTLS, "net.ipv4.ip_local_reserved_ports": "8080,9000-9010"})
    assert one.command == "sysctl -w net.ipv4.ip_local_reserved_ports=8080,9000-9010,40000"
    assert found(tmp_path, text, sysctls={**SYSCTLS, "net.ipv4.ip_local_reserved_ports": "8080,39999-40001"}) == []


@pytest.mark.parametrize(
    ("folder", "severity", "command"),
    [
        (Folder(exists=False, writable=False), "error", "install -d -m 755 /run/x"),
        (Folder(exists=True, writable=False), "error", "chown 1000 /run/x"),
        (Folder(True, True, exposed=True), "warning", "chmod go-w /run/x"),
        (Folder(True, True, blocked_by="a regular file"), "error", "mv /run/x/admin.sock /run/x/admin.sock.old"),
    ],
    ids=["missing", "read-only", "exposed", "file"],
)
def test_a_folder_of_a_unix_socket(folder, severity, command, tmp_path):
    facts = {"folders": {"/run/x/admin.sock": folder}, "process": SHELL, "status": None}
    one, *_ = found(tmp_path, ECHO, **facts)
    assert (one.severity, one.check, one.command) == (severity, "unix-folders", command)
    good = {**facts, "folders": {"/run/x/admin.sock": Folder(True, True)}}
    assert [one.check for one in found(tmp_path, ECHO, **good)] == ["admin"]


def test_descriptors(tmp_path):
    text = ECHO + "[services.echo.limits]\nconnections = 50000\n"
    assert found(tmp_path, text) == []
    one = only(tmp_path, text, process=replace(DAEMON, open_files=20_000))
    assert (one.severity, one.command) == ("error", "prlimit --pid 4211 --nofile=51024:51024")
    two = '[services.upper]\nlisten = ["tcp://127.0.0.1:7008"]\n[services.upper.limits]\nconnections = 30000\n'
    one = only(tmp_path, text + two)
    assert (one.severity, one.command) == ("warning", "prlimit --pid 4211 --nofile=81024:81024")
    assert only(tmp_path, ECHO, process=replace(DAEMON, open_files=1024)).severity == "notice"


def test_memory_of_a_cgroup_and_of_the_machine(tmp_path):
    one = only(tmp_path, ECHO, process=replace(DAEMON, memory=100 << 20))
    assert one.command == f"systemctl set-property echod.service MemoryMax={320 << 20}"
    one = only(
        tmp_path, ECHO, process=replace(DAEMON, memory=100 << 20, unit="", cgroup="/sys/fs/cgroup/a b/memory.max")
    )
    assert one.command == f"echo {320 << 20} > '/sys/fs/cgroup/a b/memory.max'"
    one = only(tmp_path, ECHO, memory=256 << 20)
    assert one.command.endswith(f" > {tmp_path}/conf.d/zz-doctor-memory.toml")
    assert found(tmp_path, ECHO, process=replace(DAEMON, memory=320 << 20)) == []


def test_more_workers_than_cpus(tmp_path):
    assert only(tmp_path, "[daemon]\nworkers = 3\n" + ECHO).check == "cpus"
    assert found(tmp_path, "[daemon]\nworkers = 2\n" + ECHO) == []


def test_full_disks(tmp_path):
    disks = (FileSystem("/var/log/echod.log", "the log", 0, 1 << 30),)
    assert only(tmp_path, ECHO, file_systems=disks).severity == "error"
    disks = (FileSystem("/var/log/journal", "the journal", 1 << 20, 1 << 30),)
    one = only(tmp_path, ECHO, file_systems=disks)
    assert (one.severity, one.command) == ("warning", "journalctl --vacuum-size=100M")
    assert found(tmp_path, ECHO, file_systems=(FileSystem("/run/x", "a Unix socket", 60 << 20, 64 << 20),)) == []


def test_the_listen_queue(tmp_path):
    one = only(tmp_path, ECHO, sysctls={**SYSCTLS, "net.core.somaxconn": "128"})
    assert (one.severity, one.command) == ("warning", "sysctl -w net.core.somaxconn=4096")
    longer = ECHO.replace("7007", "7007?backlog=9000")
    assert only(tmp_path, longer).command == "sysctl -w net.core.somaxconn=9000"
    assert found(tmp_path, UDP, sysctls={**SYSCTLS, "net.core.somaxconn": "128"})[1:] == []


def test_kernel_memory_and_tracked_connections(tmp_path):
    text = ECHO + "[services.echo.limits]\nconnections = 50000\n"
    one = only(tmp_path, text, sysctls={**SYSCTLS, "net.ipv4.tcp_mem": "1000 2000 3000"})
    assert one.command == 'sysctl -w net.ipv4.tcp_mem="150000 200000 300000"'
    one = only(tmp_path, text, sysctls={**SYSCTLS, "net.netfilter.nf_conntrack_max": "4096"})
    assert one.command == "sysctl -w net.netfilter.nf_conntrack_max=100000"
    full = {**SYSCTLS, "net.netfilter.nf_conntrack_max": "4096"}
    assert only(tmp_path, ECHO, sysctls=full, counters={"conntrack.count": 4000}).found == "4000 of 4096 used"
    assert found(tmp_path, ECHO, sysctls=full, counters={"conntrack.count": 400}) == []


def test_packets_that_are_dropped_now_are_a_problem(tmp_path):
    total = {"TcpExt.ListenOverflows": 9}
    one = only(tmp_path, ECHO, counters=total, rose=total)
    assert (one.severity, one.command) == ("warning", "sysctl -w net.core.somaxconn=65535")
    assert "rose by 9 in 1 s" in one.found
    one = only(tmp_path, ECHO, counters=total)
    assert (one.severity, one.command) == ("notice", "")
    stopped = found(tmp_path, ECHO, counters=total, rose=total, process=SHELL, status=None)
    assert {one.severity for one in stopped} == {"notice"}


def test_drops_at_the_sockets_of_the_daemon(tmp_path):
    ours, other = Holder(4211, "echod"), Holder(9, "dnsmasq")

    def dropping(rose: int, *holders: Holder, port: int = 7007) -> dict[str, Any]:
        return {"sockets": (BoundInet(True, "127.0.0.1", port, 50, rose, holders),)}

    text = UDP + '[admin]\nlisten = ["unix:///run/x/admin.sock"]\n'
    one = only(tmp_path, text, **dropping(20, ours))
    assert (one.severity, one.command) == ("warning", f"sysctl -w net.core.rmem_max={8 << 20}")
    assert one.found.startswith("50 datagrams, 20 of them in 1 s")
    assert only(tmp_path, text, **dropping(0, ours)).severity == "notice"
    assert found(tmp_path, text, **dropping(20, other)) == []
    assert found(tmp_path, text, **dropping(20, ours, port=53)) == []


def test_rules_of_the_packet_filter(tmp_path):
    rule = DroppingRule("inet filter input handle 5", frozenset({7007}), 30, 10)
    one = only(tmp_path, ECHO, rules=(rule,))
    assert (one.severity, one.command) == ("warning", "nft delete rule inet filter input handle 5")
    assert only(tmp_path, ECHO, rules=(rule._replace(rose=0),)).severity == "notice"
    assert only(tmp_path, ECHO, rules=(rule._replace(ports=frozenset()),)).severity == "notice"
    assert found(tmp_path, ECHO, rules=(rule._replace(ports=frozenset(), rose=0),)) == []


def test_missing_features_count_only_if_they_are_used(tmp_path):
    missing = frozenset({"pidfd", "landlock", "UDP_SEGMENT", "cffi"})
    assert [one.severity for one in found(tmp_path, ECHO, missing=missing)] == ["notice"]  # cffi
    assert found(tmp_path, '[daemon]\nplane = "off"\n' + ECHO, missing=missing) == []
    used = found(tmp_path, "[daemon]\nworkers = 2\nlandlock = true\n" + ECHO, missing=missing)
    assert [one.severity for one in used] == ["error", "error", "notice"]
    assert only(tmp_path, ECHO, missing=frozenset({"epoll"})).severity == "error"


def test_the_clock_is_a_problem_for_services_that_send_its_time(tmp_path):
    assert only(tmp_path, ECHO, clock=UNKNOWN).severity == "notice"
    near = ECHO + '[services.time]\nlisten = ["tcp://127.0.0.1:7037"]\n'
    assert only(tmp_path, near, clock=UNKNOWN).severity == "notice"
    one = only(tmp_path, near.replace("127.0.0.1:7037", "*:7037"), clock=UNKNOWN)
    assert (one.severity, one.command) == ("warning", "timedatectl set-ntp true")
    assert "time sends its time" in one.what


def test_an_admin_interface_that_cannot_be_used(tmp_path):
    refused = found(tmp_path, ECHO, status=None, process=SHELL, unanswered="not you", no_daemon=False)
    assert [(one.severity, one.found) for one in refused] == [("error", "not you")]
    disabled = found(tmp_path, UDP, status=None, process=SHELL)
    assert [one.severity for one in disabled] == ["notice"]
    assert disabled[0].command.endswith(f" > {tmp_path}/conf.d/zz-doctor-admin.toml")


@pytest.mark.parametrize(
    ("more", "severity", "what"),
    [
        ({"ready": False}, "error", "the daemon is not ready"),
        ({"last_reload": {"reloaded": False, "errors": ["x"]}}, "warning", "the last reload was refused: x"),
        (
            {"awaited": [{"address": "tcp://a:7", "service": "echo", "error": "gone"}]},
            "warning",
            "tcp://a:7 of echo is",
        ),
        ({"internal_errors": 2}, "warning", "the daemon had unhandled exceptions"),
        ({"lines_lost": 4}, "notice", "the daemon could not write its log"),
    ],
    ids=["unready", "reload", "awaited", "bugs", "lost"],
)
def test_what_the_daemon_reports(more, severity, what, tmp_path):
    one = only(tmp_path, ECHO, status=status(**more))
    assert one.severity == severity
    assert one.what.startswith(what)


def test_a_refused_file_is_checked_by_its_name(tmp_path):
    last = {"reloaded": False, "errors": ["x"]}
    files = ["/etc/my echod.toml", "/etc/conf.d/more.toml"]
    assert only(tmp_path, ECHO, status=status(last_reload=last, files=files)).command == (
        "echoctl check '/etc/my echod.toml'"
    )
    assert only(tmp_path, ECHO, status=status(last_reload=last, files=[])).command == "echoctl check"


def test_a_command_asks_the_daemon_of_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "read_machine", lambda *_: replace(ORDINARY, status=status(ready=False)))
    configured(tmp_path, UDP + ADMIN)
    asked = Namespace(config=str(tmp_path / "echod.toml"), admin=None, wait=0.0)
    [command] = [one.command for one in doctor.examined(asked) if one.check == "state"]
    assert command.startswith("echoctl status --admin unix:///run/")


def test_lines_that_are_lost_now_are_a_problem(tmp_path):
    one = only(tmp_path, ECHO, status=status(lines_lost=4), later=status(lines_lost=9))
    assert (one.severity, one.found) == ("warning", "9 lines lost, 5 of them in the last 1 s")


def test_refusals_name_the_key_that_decides(tmp_path):
    before, after = status(services=[listener({"per-client": 5})]), status(services=[listener({"per-client": 12})])
    one = only(tmp_path, ECHO, status=before, later=after)
    assert (one.severity, one.found) == ("warning", "7 in 1 s")
    assert one.needed == "services.echo.limits.per-client above 1000, if you know these clients"
    assert "'[services.echo.limits]' 'per-client = 2000'" in one.command
    assert found(tmp_path, ECHO, status=after, later=after) == []
    unix = status(services=[listener({"nameless": 1}, "unix-dgram:///run/x/echo.dgram")])
    one = only(tmp_path, ECHO, status=status(services=[listener({}, "unix-dgram:///run/x/echo.dgram")]), later=unix)
    assert (one.severity, one.needed, one.command) == ("notice", "", "")
    denied = status(services=[listener({"denied": 1})])
    one = only(tmp_path, ECHO, status=status(), later=denied)
    assert (one.severity, one.needed) == ("notice", "a change of services.echo.allow, if you know these clients")
    one = only(tmp_path, ECHO + 'deny = ["127.0.0.9"]\n', status=status(), later=denied)
    assert one.needed == "a change of services.echo.allow or deny, if you know these clients"


def test_a_refused_rate_is_shown_and_doubled(tmp_path):
    text = ECHO.replace("tcp://127.0.0.1", "udp://*")
    many = status(services=[listener({"rate": 8}, "udp://*:7007")])
    one = only(tmp_path, text, status=status(services=[listener({}, "udp://*:7007")]), later=many)
    assert "services.echo.limits.rate above 200/400" in one.needed
    assert """'rate = "400/800"'""" in one.command
    fast = text + '[services.echo.limits]\nrate = "1000000/2000000"\n'
    one = only(tmp_path, fast, status=status(services=[listener({}, "udp://*:7007")]), later=many)
    assert "services.echo.limits.rate above 1000000/2000000" in one.needed
    assert """'rate = "2000000/4000000"'""" in one.command


def certified(folder: Path, days: int, *, signed: bool = True) -> str:
    """A configuration with a certificate that expires so many days after NOW."""
    begin = NOW - timedelta(days=1100) + timedelta(minutes=1)
    if signed:
        issued = issuing.server(issuing.authority(begin), ["echo.example"], begin, 1100 + days)
    else:
        issued = issuing.self_signed(["echo.example"], begin, 1100 + days)
    (folder / "server.pem").write_bytes(issued.certificate_pem + issued.key_pem)
    tls = f'[services.echo.tls]\ncertificate = "{folder}/server.pem"\n'
    return ECHO.replace("tcp://", "tls://") + tls


def test_a_flood_is_not_cured_by_a_higher_limit(tmp_path):
    """The filter of the daemon drops at the same socket, whose buffer is not the cause."""
    before = status(services=[listener({"kernel": 5}, "udp://127.0.0.1:7007")])
    after = status(services=[listener({"kernel": 900}, "udp://127.0.0.1:7007")])
    sockets = (BoundInet(True, "127.0.0.1", 7007, 900, 895, (Holder(4211, "echod"),)),)
    one = only(tmp_path, UDP + ADMIN, status=before, later=after, sockets=sockets)
    assert (one.severity, one.check, one.found) == ("warning", "refusals", "895 in 1 s")
    assert "udp dst port 7007" in one.command
    one = only(tmp_path, UDP + ADMIN, status=before, later=before, sockets=sockets)
    assert (one.check, one.severity) == ("dropped", "warning")


def test_a_flood_that_is_over_is_not_a_full_buffer(tmp_path):
    over = status(services=[listener({"kernel": 900}, "udp://127.0.0.1:7007")])
    holders = (Holder(4211, "echod"),)
    sockets = (BoundInet(True, "127.0.0.1", 7007, 900, 0, holders),)
    assert found(tmp_path, UDP + ADMIN, status=over, later=over, sockets=sockets) == []
    more = (BoundInet(True, "127.0.0.1", 7007, 901, 0, holders),)
    assert only(tmp_path, UDP + ADMIN, status=over, later=over, sockets=more).severity == "notice"


def test_a_flood_of_a_unix_socket_has_no_command(tmp_path):
    unix = "unix-dgram:///run/x/echo.dgram"
    before, after = (status(services=[listener({"repeat": count}, unix)]) for count in (0, 9))
    assert only(tmp_path, ECHO, status=before, later=after).command == ""


def test_connections_near_their_limit(tmp_path):
    text = ECHO + "[services.echo.limits]\nconnections = 3\n"
    one = only(tmp_path, text)
    assert (one.severity, one.found) == ("warning", "3 of 3")
    assert one.what == "echo has as many connections as its limit allows"
    assert "'connections = 6'" in one.command
    assert found(tmp_path, text.replace("= 3", "= 4")) == []


@pytest.mark.parametrize(
    ("days", "severity", "what", "left"),
    [(-1, "error", "expired at ", "expired"), (10, "warning", "expires at ", "9 days left")],
    ids=["expired", "expiring"],
)
def test_a_certificate_that_expires(days, severity, what, left, tmp_path):
    one = only(tmp_path, certified(tmp_path, days))
    assert (one.severity, one.check) == (severity, "certificates")
    assert (one.found, one.needed) == (left, "at least 21 days")
    assert f"{what}{NOW + timedelta(days=days):%Y-%m-%d} " in one.what
    request = "openssl x509 -x509toreq -copy_extensions copy"
    assert one.command.startswith(f"{request} -in {tmp_path}/server.pem -signkey {tmp_path}/server.pem")
    one = only(tmp_path, certified(tmp_path, days, signed=False))
    assert one.command.startswith(f"openssl x509 -in {tmp_path}/server.pem -signkey")
    assert found(tmp_path, certified(tmp_path, 22)) == []


@pytest.mark.parametrize("signed", [True, False], ids=["by-an-authority", "by-itself"])
def test_a_certificate_that_has_expired_is_a_configuration_error_with_a_command(signed, tmp_path):
    begin = datetime.now(UTC) - timedelta(days=90)
    if signed:
        issued = issuing.server(issuing.authority(begin), ["echo.example"], begin, 89)
    else:
        issued = issuing.self_signed(["echo.example"], begin, 89)
    (tmp_path / "server.pem").write_bytes(issued.certificate_pem)
    (tmp_path / "key.pem").write_bytes(issued.key_pem)
    tls = '[services.echo.tls]\ncertificate = "server.pem"\nkey = "key.pem"\n'
    with pytest.raises(ConfigurationError) as refused:
        configured(tmp_path, ECHO.replace("tcp://", "tls://") + tls)
    [error] = refused.value.errors
    wanted = "openssl x509 -x509toreq -copy_extensions copy -in" if signed else "openssl x509 -in"
    command = renewal_after(error)
    assert command.startswith(f"{wanted} {tmp_path}/server.pem -signkey {tmp_path}/key.pem")
    assert renewal_after(replace(error, text="x")) == ""
    (tmp_path / "server.pem").write_text("x")
    assert renewal_after(error) == ""


def test_a_certificate_of_lets_encrypt_is_renewed_by_certbot():
    file = "/etc/letsencrypt/live/echo.example/fullchain.pem"
    assert renewal(file, None, self_signed=False) == "certbot renew --cert-name echo.example && echoctl reload"


def test_a_certificate_that_the_daemon_has_not_loaded(tmp_path):
    text = certified(tmp_path, 90)
    serving = {**listener(), "certificates": [{"sha256": "00"}]}
    assert only(tmp_path, text, status=status(services=[serving])).command == "echoctl reload"
    [certificate] = configured(tmp_path, text).services[0].tls.contexts.certificates
    serving["certificates"] = [{"sha256": certificate.facts.fingerprint}]
    assert found(tmp_path, text, status=status(services=[serving])) == []


def test_a_status_of_this_version_has_the_right_form():
    certified = {**listener({"rate": 1}), "certificates": [{"sha256": "00"}]}
    awaited = [{"address": "tcp://a:7", "service": "echo", "error": "gone"}]
    refused = {"reloaded": False, "errors": ["x"]}
    more = {"services": [certified], "awaited": awaited, "last_reload": refused, "workers": [{"pid": 7}]}
    check_form(status())
    check_form(status(**more))


WRONG: tuple[dict[str, Any], ...] = (
    {"pid": "x"},
    {"lines_lost": None},
    {"workers": [7]},
    {"last_reload": 7},
    {"last_reload": {"reloaded": False, "errors": [7]}},
    {"awaited": [{"address": 7, "service": "x", "error": "x"}]},
    {"services": [{"name": "x"}]},
    {"services": [{"name": "x", "listeners": [{"address": "x", "open": 1, "refused": {"rate": "x"}}]}]},
    {"services": [{**listener(), "name": 7}]},
    {"services": 7},
    {"ready": "yes"},
)


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_a_status_of_another_program_is_recognized(wrong):
    with pytest.raises((TypeError, ValueError, LookupError)):
        check_form(status(**wrong))
    with pytest.raises((TypeError, ValueError, LookupError)):
        check_form(7)


def test_every_finding_is_sorted_by_severity(tmp_path):
    several = found(tmp_path, ECHO, clock=UNKNOWN, missing=frozenset({"epoll"}), sysctls={"net.core.somaxconn": "1"})
    assert [one.severity for one in several] == ["error", "warning", "notice"]
