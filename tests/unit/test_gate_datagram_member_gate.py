"""The gate of datagram members: a budget for each network, and addresses that are ignored for a while."""

from twisted.internet.task import Clock

from echod.gate.access import packed_address
from echod.gate.buckets import TABLE
from echod.gate.datagram_member_gate import MUTED, OUTPUT, REMEMBERED, MemberGate, is_local


def spent(gate, host, size=1000):
    """How many datagrams a host is sent before its network has used up its budget."""
    count = 0
    while count < 2000 and gate.may_send(packed_address(host), size):
        count += 1
    return count


def test_a_network_has_one_budget_for_all_its_hosts():
    gate = MemberGate(Clock().seconds)
    assert spent(gate, "192.0.2.1") == OUTPUT.burst // 1000
    assert not gate.may_send(packed_address("192.0.2.250"), 1000)
    assert not gate.may_send(packed_address("::ffff:192.0.2.7"), 1000)
    assert gate.may_send(packed_address("192.0.3.1"), 1000)
    assert spent(gate, "2001:db8::1") == OUTPUT.burst // 1000
    assert not gate.may_send(packed_address("2001:db8:0:ff::9"), 1000)
    assert gate.may_send(packed_address("2001:db8:0:100::9"), 1000)


def test_a_budget_fills_again():
    clock = Clock()
    gate = MemberGate(clock.seconds)
    spent(gate, "192.0.2.1")
    clock.advance(1)
    assert spent(gate, "192.0.2.1") == OUTPUT.per_second // 1000


def test_this_machine_has_no_budget():
    gate = MemberGate(Clock().seconds)
    for host in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"):
        assert is_local(packed_address(host))
        assert spent(gate, host) == 2000
    assert is_local(b"")
    for host in ("128.0.0.1", "::2", "::7f00:1:0", "64:ff9b::1", "::ffff:10.0.0.1"):
        assert not is_local(packed_address(host)), host


def test_a_muted_address_is_ignored_for_a_minute():
    clock = Clock()
    gate = MemberGate(clock.seconds)
    gate.mute(b"a")
    assert gate.muted(b"a")
    assert not gate.muted(b"b")
    clock.advance(MUTED)
    assert not gate.muted(b"a")


def test_its_tables_are_bounded():
    gate = MemberGate(Clock().seconds)
    for number in range(REMEMBERED + 10):
        gate.mute(b"%d" % number)
    assert len(gate._muted) == REMEMBERED
    assert not gate.muted(b"0")
    for number in range(TABLE + 10):
        gate.may_send(b"\x0a" + number.to_bytes(2, "big") + b"\x01" if number < 65536 else b"\x0b\0\0\x01", 1)
    assert len(gate._output) <= TABLE
