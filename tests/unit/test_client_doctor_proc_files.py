"""The parsers of the kernel's text files, with texts of real machines."""

from __future__ import annotations

import sys

import pytest

from echod.client.doctor import proc_files

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TCP = (
    HEAD
    + "   0: 0100007F:2717 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1 0 100\n"
    + "   1: 0100007F:2717 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 4243 1 0 20\n"
)
UDP6 = (
    HEAD
    + " 1925: 00000000000000000000000001000000:2717 00000000000000000000000000000000:0000 07 00000000:00000000"
    + " 00:00000000 00000000     0        0 77 2 0000000000000000 12\n"
)
NETSTAT = "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 1 25\nIpExt: InNoRoutes\nIpExt: 3\n"
LIMITS = "Limit   Soft Limit   Hard Limit   Units\nMax open files            1024  65536  files\n"
CGROUP = "9:name=systemd:/\n4:cpu,cpuacct:/a\n0::/system.slice/system-x.slice/echod.service\n"


@pytest.mark.skipif(sys.byteorder != "little", reason="the texts are of a little-endian machine")
def test_sockets_that_listen():
    assert list(proc_files.sockets(TCP, datagram=False)) == [("127.0.0.1", 10007, 4242, 0)]
    assert list(proc_files.sockets(UDP6, datagram=True)) == [("::1", 10007, 77, 12)]
    assert list(proc_files.sockets("", datagram=True)) == []


def test_counters():
    assert proc_files.counter_pairs(NETSTAT) == {
        "TcpExt.SyncookiesSent": 1,
        "TcpExt.ListenOverflows": 25,
        "IpExt.InNoRoutes": 3,
    }
    assert proc_files.softnet_drops("0bb92c69 000000ab 0a 0\n0a86e705 00000001 15 0\n") == 0xAC
    table = "entries searched drop early_drop insert_failed\n0000000f 0 00000002 00000001 00000000\n"
    assert proc_files.conntrack_drops(table) == 3
    assert proc_files.conntrack_drops("") == 0


def rule(right, **verdict):
    match = {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": right}
    expressions = [{"match": match}, {"counter": {"packets": 7, "bytes": 1}}, verdict]
    return {"rule": {"family": "inet", "table": "f", "chain": "input", "handle": 5, "expr": expressions}}


@pytest.mark.parametrize(
    ("right", "ports"),
    [(7, {7}), ({"set": [7, {"range": [9, 11]}]}, {7, 9, 10, 11}), ("@named", set())],
    ids=["port", "set", "named-set"],
)
def test_rules_that_drop(right, ports):
    found = list(proc_files.dropping_rules({"nftables": [{"metainfo": {}}, rule(right, drop=None)]}))
    assert found == [("inet f input handle 5", ports, 7, 0)]
    assert list(proc_files.dropping_rules({"nftables": [rule(right, accept=None)]})) == []


def test_facts_of_a_process():
    assert proc_files.hard_limit_of_files(LIMITS) == 65_536
    assert proc_files.hard_limit_of_files("") == 0
    assert proc_files.status_field("Name:\tx\nCapEff:\t0000000000000400\n", "CapEff") == "0000000000000400"
    assert proc_files.status_field("", "CapEff") == ""


def test_cgroups():
    paths = proc_files.cgroup_paths(CGROUP)
    assert (paths["cpu"], paths[""]) == ("/a", "/system.slice/system-x.slice/echod.service")
    assert proc_files.unit_of(CGROUP) == "echod.service"
    assert proc_files.unit_of("0::/user.slice/user-0.slice\n") == ""
    assert proc_files.memory_limit(["max\n", "2000\n", "1000\n", str((1 << 63) - 4096)]) == 1000
    assert proc_files.memory_limit(["max\n"]) is None
    assert proc_files.cpu_quota(["max 100000\n", "150000 100000\n", "400000 100000\n"]) == 2
    assert proc_files.cpu_quota(["1000 100000"]) == 1
    assert proc_files.cpu_quota([]) is None
