"""The gate of streams: each reason to refuse a connection, and released counts."""

from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.gate.access import Access, canonical, packed_address
from echod.gate.connections import ConnectionGate, client_of
from echod.gate.limits import UNLIMITED, Limits, Rate
from echod.gate.refusal import Refusal

EVERYBODY = Access([ip_network("0.0.0.0/0"), ip_network("::/0")])
UNIX = b""


def gate(access: Access = EVERYBODY, clock: Clock | None = None, **limits: Any) -> ConnectionGate:
    """A gate that admits all hosts, within these limits."""
    return ConnectionGate(access, Limits(**limits), (clock or Clock()).seconds)


def admit(to: ConnectionGate, host: str, *, loopback: bool = False) -> Refusal | None:
    """The decision of a gate on a host, given as text."""
    return to.admit(packed_address(host), loopback=loopback)


class Clients(SynchronousTestCase):
    def test_a_client_is_an_ipv4_host_or_an_ipv6_network_of_64_bits(self) -> None:
        self.assertEqual(client_of(ip_address("192.0.2.1").packed), bytes([192, 0, 2, 1]))
        one, other = ip_address("2001:db8:0:1::1").packed, ip_address("2001:db8:0:1:ffff::2").packed
        self.assertEqual(client_of(one), client_of(other))
        self.assertNotEqual(client_of(one), client_of(ip_address("2001:db8:0:2::1").packed))


class Refusing(SynchronousTestCase):
    def test_a_host_that_is_not_allowed_is_refused(self) -> None:
        lists = gate(Access([ip_network("192.0.2.0/24")], [ip_network("192.0.2.7")]))
        self.assertIsNone(admit(lists, "192.0.2.1"))
        self.assertIs(admit(lists, "192.0.2.7"), Refusal.DENIED)
        self.assertIs(admit(lists, "::ffff:192.0.2.7"), Refusal.DENIED)
        self.assertIs(admit(lists, "2001:db8::1"), Refusal.DENIED)
        self.assertEqual(lists.open, 1)

    def test_a_disguised_host_is_refused(self) -> None:
        self.assertIs(admit(gate(), "::127.0.0.1"), Refusal.SOURCE_ADDRESS)
        self.assertIs(admit(gate(), "64:ff9b::10.0.0.1"), Refusal.SOURCE_ADDRESS)
        self.assertIsNone(admit(gate(), "::ffff:127.0.0.1"))

    def test_connections_above_the_limit_of_the_service_are_refused(self) -> None:
        full = gate(connections=2)
        self.assertIsNone(admit(full, "192.0.2.1"))
        self.assertIsNone(full.admit(UNIX, loopback=True))
        self.assertIs(admit(full, "192.0.2.2"), Refusal.CONNECTIONS)
        self.assertIs(full.admit(UNIX, loopback=True), Refusal.CONNECTIONS)
        full.release(UNIX)
        self.assertIsNone(admit(full, "192.0.2.2"))

    def test_connections_above_the_limit_of_a_client_are_refused(self) -> None:
        for hosts in (
            ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"],
            ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"],
        ):
            held = gate(per_client=2)
            self.assertEqual([admit(held, host) for host in hosts], [None, None, Refusal.PER_CLIENT])
            self.assertIsNone(admit(held, "192.0.2.2"))
            held.release(packed_address(hosts[2]))
            self.assertIsNone(admit(held, hosts[0]))

    def test_a_client_that_connects_too_fast_is_refused(self) -> None:
        clock = Clock()
        fast = gate(clock=clock, new_per_client=Rate(1, 2))
        self.assertEqual([admit(fast, "192.0.2.1") for _ in range(3)], [None, None, Refusal.NEW_PER_CLIENT])
        self.assertIsNone(admit(fast, "192.0.2.2"))
        self.assertIs(admit(fast, "::ffff:192.0.2.1"), Refusal.NEW_PER_CLIENT)
        clock.advance(1)
        self.assertEqual([admit(fast, "192.0.2.1") for _ in range(2)], [None, Refusal.NEW_PER_CLIENT])
        self.assertEqual(fast.open, 4)

    def test_fast_clients_are_admitted_on_loopback_and_without_a_limit(self) -> None:
        here, free = gate(), gate(new_per_client=UNLIMITED)
        for _ in range(600):
            self.assertIsNone(admit(here, "127.0.0.1", loopback=True))
            self.assertIsNone(admit(free, "192.0.2.1"))

    def test_a_client_above_the_documented_rate_is_refused(self) -> None:
        default = gate()
        verdicts = Counter(admit(default, "192.0.2.1") for _ in range(502))
        self.assertEqual(verdicts, {None: 500, Refusal.NEW_PER_CLIENT: 2})

    def test_unix_peers_have_only_the_limit_of_the_service(self) -> None:
        nobody = gate(Access(()), per_client=0, new_per_client=Rate(1, 1))
        for _ in range(5):
            self.assertIsNone(nobody.admit(UNIX, loopback=True))
        self.assertEqual(nobody.open, 5)

    def test_a_client_that_a_proxy_names_has_the_limits_of_a_client(self) -> None:
        limited = gate(Access([ip_network("192.0.2.0/24")]), connections=5, per_client=1)
        named = packed_address("192.0.2.1")
        for _ in range(4):
            self.assertIsNone(limited.admit(UNIX, loopback=False))
        self.assertIsNone(limited.name(named, loopback=False))
        self.assertIs(limited.name(named, loopback=False), Refusal.PER_CLIENT)
        self.assertIs(limited.name(packed_address("198.51.100.1"), loopback=False), Refusal.DENIED)
        self.assertIsNone(limited.name(UNIX, loopback=False), "an unnamed one stays unnamed")
        limited.release(named)
        self.assertIsNone(limited.name(named, loopback=False))

    def test_a_refused_connection_is_not_counted(self) -> None:
        clock = Clock()
        one = gate(clock=clock, per_client=1, new_per_client=Rate(1, 2))
        self.assertIsNone(admit(one, "192.0.2.1"))
        for _ in range(5):
            self.assertIs(admit(one, "192.0.2.1"), Refusal.PER_CLIENT)
        one.release(packed_address("192.0.2.1"))
        self.assertIsNone(admit(one, "192.0.2.1"))  # the second token is still there
        self.assertEqual(one.open, 1)


class Governing(SynchronousTestCase):
    def test_new_limits_do_not_close_open_connections(self) -> None:
        changed = gate()
        self.assertIsNone(admit(changed, "192.0.2.1"))
        changed.reconfigure(Access([ip_network("198.51.100.0/24")]), Limits(connections=2, new_per_client=Rate(1, 1)))
        self.assertEqual(changed.open, 1)
        self.assertIs(admit(changed, "192.0.2.1"), Refusal.DENIED)
        self.assertIsNone(admit(changed, "198.51.100.1"))
        self.assertIs(admit(changed, "198.51.100.2"), Refusal.CONNECTIONS)
        changed.release(packed_address("192.0.2.1"))
        self.assertIs(admit(changed, "198.51.100.1"), Refusal.NEW_PER_CLIENT)

    def test_a_restored_rate_keeps_its_buckets(self) -> None:
        slow, fast = Limits(new_per_client=Rate(1, 1)), Limits(new_per_client=Rate(100, 100))
        changed = gate(new_per_client=Rate(1, 1))
        self.assertIsNone(admit(changed, "192.0.2.1"))
        changed.reconfigure(EVERYBODY, fast)
        self.assertIsNone(admit(changed, "192.0.2.1"))
        changed.reconfigure(EVERYBODY, slow)
        self.assertIs(admit(changed, "192.0.2.1"), Refusal.NEW_PER_CLIENT)


_hosts = st.sampled_from(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "10.0.0.1", ""])


class Counting(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(_hosts, st.booleans(), st.booleans())))
    def test_limits_hold_and_closed_connections_are_released(self, steps: list[tuple[str, bool, bool]]) -> None:
        lists = Access([ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")])
        counted = gate(lists, connections=5, per_client=2, new_per_client=Rate(1, 20))
        open_: list[bytes] = []
        for host, leaves, loopback in steps:
            packed = packed_address(host) if host else UNIX
            if leaves:
                if packed in open_:
                    open_.remove(packed)
                    counted.release(packed)
            elif counted.admit(packed, loopback=loopback) is None:
                open_.append(packed)
            clients = Counter(client_of(canonical(packed)) for packed in open_ if packed)
            self.assertEqual(counted.open, len(open_))
            self.assertLessEqual(len(open_), 5)
            self.assertLessEqual(max(clients.values(), default=0), 2)
            self.assertNotIn(packed_address("10.0.0.1"), clients)
        for packed in open_:
            counted.release(packed)
        self.assertEqual(counted.open, 0)
        self.assertEqual([admit(counted, "192.0.2.3") for _ in range(2)], [None, None])

    def test_reasons_are_printed_as_their_names(self) -> None:
        self.assertEqual(str(Refusal.NEW_PER_CLIENT), "new-per-client")
        self.assertEqual(len(set(map(str, Refusal))), len(Refusal))

    def test_one_process_has_no_connections_elsewhere(self) -> None:
        counted = gate(Access([ip_network("192.0.2.0/24")]))
        admit(counted, "192.0.2.3")
        self.assertEqual((counted.open, counted.open_elsewhere), (1, 0))
