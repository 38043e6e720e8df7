"""The gate of datagrams: refused sources, rates of networks, and loops between services."""

import tracemalloc
from collections import Counter
from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.gate.access import Access, canonical, packed_address
from echod.gate.datagrams import DatagramGate, is_many
from echod.gate.limits import UNLIMITED, Limits, Rate
from echod.gate.network_rate import (
    BYTES,
    MUTE,
    PREFIX,
    SAME,
    TOTAL,
    TOTAL_BYTES,
    WATCHED,
    Repeats,
    Total,
    network_of,
)
from echod.gate.refusal import Refusal

EVERYBODY = Access([ip_network("0.0.0.0/0"), ip_network("::/0")])
HIGH = 40_000  # a client's port


def gate(access: Access = EVERYBODY, clock: Clock | None = None, rate: Any = "auto", **rules: Any) -> DatagramGate:
    """A gate that admits all hosts, within this rate."""
    return DatagramGate(access, Limits(rate=rate), (clock or Clock()).seconds, **rules)


def admit(
    to: DatagramGate, host: str, port: int = HIGH, datagram: bytes = b"x", *, loopback: bool = False
) -> Refusal | None:
    """The decision of a gate on a datagram from a host, given as text."""
    return to.admit(packed_address(host), port, datagram, loopback=loopback)


class Sources(SynchronousTestCase):
    def test_ports_of_services_that_reply_are_refused(self) -> None:
        for port in (0, 1, 7, 9, 13, 17, 19, 37, 53, 123, 161, 862, 1023, 1900, 2049, 3702, 5353, 11211, 27015):
            self.assertIs(admit(gate(), "192.0.2.1", port), Refusal.SOURCE_PORT, port)
        for port in (1024, 1901, 2048, 2050, 10007, 65535):
            self.assertIsNone(admit(gate(), "192.0.2.1", port), port)

    def test_own_ports_are_refused_as_soon_as_they_are_served(self) -> None:
        own_ports: set[int] = set()
        guard = gate(own_ports=own_ports)
        self.assertIsNone(admit(guard, "192.0.2.1", 10_007))
        own_ports.add(10_007)
        self.assertIs(admit(guard, "192.0.2.1", 10_007), Refusal.SOURCE_PORT)
        self.assertIs(admit(guard, "127.0.0.1", 10_007, loopback=True), Refusal.SOURCE_PORT)

    def test_ports_that_the_operator_lists_are_admitted(self) -> None:
        guard = gate(own_ports={862, 10_007}, allow_source_ports={862, 53})
        self.assertIsNone(admit(guard, "192.0.2.1", 862))
        self.assertIsNone(admit(guard, "192.0.2.1", 53))
        self.assertIs(admit(guard, "192.0.2.1", 10_007), Refusal.SOURCE_PORT)

    def test_unspecified_broadcast_and_multicast_sources_are_refused(self) -> None:
        for host in (
            *("0.0.0.0", "0.255.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.254"),
            *("255.255.255.255", "192.0.2.255", "::", "ff00::", "ff02::1%eth0", "ff0e::1"),
            *("::ffff:0.0.0.0", "::ffff:224.0.0.1", "::ffff:255.255.255.255", "::ffff:192.0.2.255"),
            *("64:ff9b::224.0.0.1", "64:ff9b::192.0.2.255", "::224.0.0.1"),
            *("::127.0.0.1", "::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::192.168.0.1", "64:ff9b::0.0.0.0"),
        ):
            guard = gate(broadcasts={bytes([192, 0, 2, 255])})
            self.assertIs(admit(guard, host), Refusal.SOURCE_ADDRESS, host)

    def test_addresses_of_one_host_are_admitted(self) -> None:
        for host in (
            *("1.0.0.0", "127.0.0.1", "192.0.2.254", "223.255.255.255", "10.0.0.255", "::ffff:192.0.2.1"),
            *("::1", "fe80::1%eth0", "fe00::1", "2001:db8::1", "64:ff9b::8.8.8.8"),
        ):
            self.assertIsNone(admit(gate(broadcasts={bytes([192, 0, 2, 255])}), host), host)

    def test_broadcast_addresses_can_change_later(self) -> None:
        broadcasts: set[bytes] = set()
        guard = gate(broadcasts=broadcasts)
        self.assertIsNone(admit(guard, "10.255.255.255"))
        broadcasts.add(bytes([10, 255, 255, 255]))
        self.assertIs(admit(guard, "10.255.255.255"), Refusal.SOURCE_ADDRESS)

    def test_a_host_that_is_not_allowed_is_denied(self) -> None:
        guard = gate(Access([ip_network("192.0.2.0/24")], [ip_network("192.0.2.7")]))
        self.assertIsNone(admit(guard, "192.0.2.1"))
        for host in ("192.0.2.7", "::ffff:192.0.2.7", "198.51.100.1", "2001:db8::1"):
            self.assertIs(admit(guard, host), Refusal.DENIED, host)

    def test_unix_peers_are_always_admitted(self) -> None:
        guard = gate(Access(()), rate=Rate(1, 1))
        self.assertEqual({guard.admit(b"", 0, b"x", loopback=True) for _ in range(200)}, {None})
        self.assertTrue(guard.may_be_larger(b""))

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 65535), st.booleans())
    def test_a_source_that_could_be_another_service_gets_no_reply(self, host: Any, port: int, loopback: bool) -> None:
        refusal = gate(own_ports={10_007}).admit(host.packed, port, b"x", loopback=loopback)
        key = canonical(host.packed)
        if refusal is None:
            self.assertGreaterEqual(port, 1024)
            self.assertNotIn(port, (2049, 10_007, 11211))
            self.assertTrue(0 < key[0] < 224 if len(key) == 4 else key[0] != 255 and any(key))
        else:
            self.assertIn(refusal, (Refusal.SOURCE_PORT, Refusal.SOURCE_ADDRESS))


class Destinations(SynchronousTestCase):
    def test_destinations_of_many_hosts_are_recognised_in_every_form(self) -> None:
        broadcasts = {bytes([192, 0, 2, 255])}
        many = ("224.0.0.1", "239.1.2.3", "255.255.255.255", "192.0.2.255", "ff02::1", "ff0e::1")
        for host in (*many, *(f"::ffff:{host}" for host in many if "." in host)):
            self.assertTrue(is_many(packed_address(host), broadcasts), host)
        for host in ("127.0.0.1", "192.0.2.1", "198.51.100.255", "::1", "fe80::1", "2001:db8::ff", "::ffff:192.0.2.1"):
            self.assertFalse(is_many(packed_address(host), broadcasts), host)


class LargerAnswers(SynchronousTestCase):
    def test_larger_replies_need_a_listed_network(self) -> None:
        for host in ("127.0.0.1", "192.0.2.1", "::1"):
            self.assertFalse(gate().may_be_larger(packed_address(host)), host)

    def test_larger_replies_are_not_sent_to_disguised_hosts(self) -> None:
        guard = gate(larger_answers_to=Access([ip_network("127.0.0.0/8"), ip_network("::1/128")]))
        for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(guard.may_be_larger(packed_address(host)), host)
        for host in ("192.0.2.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "::2"):
            self.assertFalse(guard.may_be_larger(packed_address(host)), host)


class Shares(SynchronousTestCase):
    def test_one_network_gets_its_rate(self) -> None:
        clock = Clock()
        guard = gate(clock=clock, rate=Rate(10, 20))
        verdicts = [admit(guard, f"192.0.2.{number + 1}", datagram=b"%d" % number) for number in range(25)]
        self.assertEqual(verdicts, [None] * 20 + [Refusal.RATE] * 5)
        self.assertIsNone(admit(guard, "192.0.3.1"))
        clock.advance(0.1)
        self.assertEqual([admit(guard, "192.0.2.1") for _ in range(2)], [None, Refusal.RATE])

    def test_an_ipv6_customer_is_one_network(self) -> None:
        guard = gate(rate=Rate(1, 1))
        self.assertIsNone(admit(guard, "2001:db8::1"))
        self.assertIs(admit(guard, "2001:db8:0:ff::1"), Refusal.RATE)
        self.assertIsNone(admit(guard, "2001:db8:0:100::1"))

    def test_every_form_of_a_host_is_in_one_network(self) -> None:
        guard = gate(rate=Rate(1, 1))
        self.assertIsNone(admit(guard, "8.8.8.8"))
        for host in ("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "::8.8.8.8", "8.8.8.9"):
            self.assertIs(admit(guard, host), Refusal.RATE, host)

    def test_the_default_is_the_documented_rate_and_unlimited_on_loopback(self) -> None:
        guard = gate()
        verdicts = Counter(admit(guard, "192.0.2.1", HIGH + number, b"x") for number in range(410))
        self.assertEqual(verdicts, {None: 400, Refusal.RATE: 10})
        self.assertEqual({admit(guard, "127.0.0.1", loopback=True) for _ in range(1000)}, {None})

    def test_a_latency_tool_with_100_requests_a_second_passes(self) -> None:
        clock = Clock()
        guard = gate(clock=clock)
        for _ in range(3000):
            self.assertIsNone(admit(guard, "192.0.2.1"))
            clock.advance(0.01)

    def test_one_network_has_a_limit_of_bytes(self) -> None:
        guard = gate(rate=Rate(1000, 1000))
        largest = bytes(65_507)
        whole = BYTES.burst // len(largest)
        verdicts = [admit(guard, "192.0.2.1", HIGH + number, largest) for number in range(int(whole) + 2)]
        self.assertEqual(verdicts, [None] * int(whole) + [Refusal.BYTES] * 2)
        self.assertIsNone(admit(guard, "192.0.2.1"))
        self.assertIsNone(admit(guard, "192.0.3.1", datagram=largest))

    def test_all_networks_together_have_a_limit_of_replies(self) -> None:
        guard = gate(rate=Rate(100_000, 100_000))
        verdicts = Counter(
            guard.admit(bytes([10, number >> 8 & 255, number & 255, 1]), HIGH, b"", loopback=False)
            for number in range(int(TOTAL.burst) + 20)
        )
        self.assertLessEqual(abs(verdicts[None] - TOTAL.burst), 5)
        self.assertEqual(set(verdicts), {None, Refusal.TOTAL})

    def test_all_networks_together_have_a_limit_of_bytes(self) -> None:
        guard = gate(rate=Rate(1000, 1000))
        largest = bytes(65_507)
        verdicts = Counter(
            guard.admit(bytes([10, number >> 8 & 255, number & 255, 1]), HIGH, largest, loopback=False)
            for number in range(520)
        )
        self.assertEqual(verdicts[None], TOTAL_BYTES.burst // len(largest))
        self.assertEqual(set(verdicts), {None, Refusal.TOTAL})

    def test_the_total_is_one_for_all_services(self) -> None:
        total = Total()
        one, other = gate(total=total), gate(total=total)
        while total.take(1, 0, 0):
            pass
        self.assertIs(admit(one, "192.0.2.1"), Refusal.TOTAL)
        self.assertIs(admit(other, "192.0.2.1"), Refusal.TOTAL)
        self.assertIsNone(admit(gate(), "192.0.2.1"))

    def test_without_a_limit_rates_are_not_counted(self) -> None:
        total = Total()
        guard = gate(rate=UNLIMITED, total=total)
        self.assertEqual({admit(guard, "192.0.2.1", datagram=bytes(65_507)) for _ in range(600)}, {None})
        self.assertEqual((total.replies, total.bytes), (0, 0))

    def test_forged_sources_take_bounded_memory(self) -> None:
        guard = gate(total=Total())
        tracemalloc.start()
        try:
            for number in range(90_000):
                source = bytes([10 + (number >> 16), number >> 8 & 255, number & 255, 1])
                guard.admit(source, HIGH, b"x", loopback=False)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 40 * 1024 * 1024)  # two tables of 16 MiB at most

    def test_new_rules_are_valid_at_once(self) -> None:
        guard = gate(rate=Rate(1, 1))
        self.assertIsNone(admit(guard, "192.0.2.1"))
        self.assertIs(admit(guard, "192.0.2.1"), Refusal.RATE)
        guard.reconfigure(EVERYBODY, Limits(rate=Rate(2, 2)), EVERYBODY, {53})
        self.assertIsNone(admit(guard, "192.0.2.1", 53))
        self.assertTrue(guard.may_be_larger(packed_address("192.0.2.1")))
        guard.reconfigure(Access(()), Limits(), Access(()), ())
        self.assertIs(admit(guard, "192.0.2.1"), Refusal.DENIED)
        self.assertIs(admit(guard, "192.0.2.1", 53), Refusal.SOURCE_PORT)
        self.assertFalse(guard.may_be_larger(packed_address("192.0.2.1")))

    def test_networks(self) -> None:
        self.assertEqual(network_of(packed_address("192.0.2.1")), bytes([192, 0, 2]))
        self.assertEqual(network_of(packed_address("2001:db8:0:1234::1")), bytes.fromhex("20010db8000012"))

    @settings(max_examples=50, deadline=None)
    @given(
        st.floats(0, 1e7),
        st.lists(
            st.tuples(st.sampled_from([0.0, 0.001, 0.05, 1.0]), st.integers(1, 9), st.binary(max_size=3)), max_size=300
        ),
    )
    def test_no_window_has_more_replies_to_a_network_than_its_rate(
        self, start: float, steps: list[tuple[float, int, bytes]]
    ) -> None:
        clock = Clock()
        clock.advance(start)
        guard = gate(clock=clock, rate=Rate(20, 40))
        answered: list[float] = []
        for wait, host, datagram in steps:
            clock.advance(wait)
            if guard.admit(bytes([192, 0, 2, host]), HIGH, datagram, loopback=False) is None:
                answered.append(clock.seconds())
        for index, at in enumerate(answered):
            self.assertLessEqual(index + 1, 40 + 20 * (at - start) + 0.001)


class Runs(SynchronousTestCase):
    """One decision on several datagrams of one source."""

    def run_of(
        self, guard: DatagramGate, count: int, size: int = 0, host: str = "192.0.2.1", port: int = HIGH
    ) -> bool | Refusal:
        return guard.admit_run(canonical(packed_address(host)), port, count, size, loopback=False)

    def test_a_run_passes_if_each_datagram_would_and_is_counted(self) -> None:
        guard = gate(rate=Rate(10, 100))
        self.assertTrue(self.run_of(guard, 50))
        left = [admit(guard, "192.0.2.2", HIGH, b"%d" % number) for number in range(51)]
        self.assertEqual(left, [None] * 50 + [Refusal.RATE])

    def test_a_run_passes_without_a_limit(self) -> None:
        self.assertTrue(self.run_of(gate(rate=UNLIMITED), 10_000, 10**9))
        self.assertTrue(gate().admit_run(packed_address("127.0.0.1"), HIGH, 10_000, 10**9, loopback=True))

    def test_a_run_is_undecided_if_one_datagram_could_be_refused(self) -> None:
        spent_answers, spent_bytes = Total(), Total()
        self.assertTrue(spent_answers.take(int(TOTAL.burst), 0, 0))
        self.assertTrue(spent_bytes.take(1, int(TOTAL_BYTES.burst), 0))
        for what, total, count, size in (
            ("more than half of the share", Total(), 51, 0),
            ("too many bytes", Total(), 9, int(BYTES.burst) + 1),
            ("all networks have too many answers", spent_answers, 1, 0),
            ("all networks have too many bytes", spent_bytes, 1, 1),
        ):
            guard = gate(rate=Rate(10, 100), total=total)
            self.assertFalse(self.run_of(guard, count, size), what)
        muted = gate(rate=Rate(100, 200))
        while admit(muted, "192.0.2.1", datagram=b"same") is not Refusal.REPEAT:
            pass
        self.assertIs(self.run_of(muted, 1), Refusal.REPEAT)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([0.0, 0.01, 1.0]),
                st.sampled_from(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"]),
                st.integers(1, 40),
                st.sampled_from([0, 1, 20_000]),
            ),
            max_size=12,
        )
    )
    def test_runs_are_decided_like_single_datagrams(self, steps: list[tuple[float, str, int, int]]) -> None:
        clock = Clock()
        whole, single = (gate(clock=clock, rate=Rate(50, 100)) for _ in range(2))
        for wait, host, count, length in steps:
            clock.advance(wait)
            datagrams = [bytes(length)] * count
            verdict = self.run_of(whole, count, count * length, host)
            if verdict is False:
                verdicts = [admit(whole, host, HIGH, datagram) for datagram in datagrams]
            else:
                verdicts = [None if verdict is True else verdict] * count
            self.assertEqual(verdicts, [admit(single, host, HIGH, datagram) for datagram in datagrams])


class Loops(SynchronousTestCase):
    """A peer that sends the replies back, like another echo service."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.guard = gate(clock=self.clock, rate=Rate(200, 400))

    def busy(self, network: str = "192.0.2") -> None:
        """Let another host of this network use more than half of its rate."""
        for number in range(201):
            admit(self.guard, f"{network}.200", HIGH, b"%d" % number)

    def loop(self, *datagrams: bytes, host: str = "192.0.2.1", seconds: float = 0.5) -> list[Refusal | None]:
        """The decisions on 100 datagrams, taken in turn, spread over so many seconds."""
        verdicts = []
        for number in range(100):
            verdicts.append(admit(self.guard, host, HIGH, datagrams[number % len(datagrams)]))
            self.clock.advance(seconds / 100)
        return verdicts

    def test_a_repeated_datagram_mutes_its_source(self) -> None:
        self.busy()
        verdicts = self.loop(b"same")
        self.assertEqual(verdicts, [None] * (SAME - 1) + [Refusal.REPEAT] * (100 - SAME + 1))

    def test_a_muted_source_gets_no_reply_for_a_minute(self) -> None:
        self.busy()
        self.loop(b"same", seconds=0)
        self.assertIs(admit(self.guard, "192.0.2.1", HIGH, b"other"), Refusal.REPEAT)
        self.clock.advance(MUTE - 0.001)
        self.assertIs(admit(self.guard, "192.0.2.1", HIGH, b"other"), Refusal.REPEAT)
        self.clock.advance(0.001)
        self.assertIsNone(admit(self.guard, "192.0.2.1", HIGH, b"other"))

    def test_only_that_source_is_muted(self) -> None:
        self.busy()
        self.loop(b"same")
        self.assertIsNone(admit(self.guard, "192.0.2.1", HIGH + 1, b"same"))
        self.assertIsNone(admit(self.guard, "192.0.2.2", HIGH, b"same"))

    def test_a_muted_source_does_not_use_the_rate_of_its_network(self) -> None:
        self.busy()
        self.loop(b"same", seconds=0)
        for _ in range(1000):
            self.assertIs(admit(self.guard, "192.0.2.1", HIGH, b"same"), Refusal.REPEAT)
        left = Counter(admit(self.guard, "192.0.2.3", HIGH, b"%d" % number) for number in range(200))
        self.assertEqual(left[None], 400 - 201 - (SAME - 1))

    def test_a_loop_of_two_datagrams_is_detected(self) -> None:
        self.busy()
        verdicts = self.loop(b"one", b"other", seconds=0.25) + self.loop(b"one", b"other", seconds=0.25)
        self.assertIn(Refusal.REPEAT, verdicts)

    def test_a_probe_with_constant_payload_passes_below_half_its_rate(self) -> None:
        self.assertEqual(set(self.loop(b"same", seconds=1)), {None})

    def test_different_datagrams_are_not_a_loop(self) -> None:
        self.busy()
        self.assertEqual({admit(self.guard, "192.0.2.1", HIGH, b"%d" % number) for number in range(150)}, {None})

    def test_datagrams_that_differ_only_in_length_are_not_a_loop(self) -> None:
        self.busy()
        self.assertEqual(
            {admit(self.guard, "192.0.2.1", HIGH, bytes(PREFIX + number)) for number in range(150)}, {None}
        )

    def test_occasional_repetitions_are_not_a_loop(self) -> None:
        for _ in range(10):
            self.busy()
            self.assertEqual({admit(self.guard, "192.0.2.1", HIGH, b"same") for _ in range(30)}, {None})
            self.clock.advance(1.5)

    def test_two_services_that_echo_each_other_fall_silent(self) -> None:
        guards = [gate(clock=self.clock, rate=Rate(200, 400)) for _ in range(2)]
        answered, turn = 0, 0
        while guards[turn].admit(bytes([192, 0, 2, turn + 1]), HIGH, b"one packet", loopback=False) is None:
            answered += 1
            turn = 1 - turn
            self.clock.advance(0.0001)
        self.assertLess(answered, 1000)

    def test_the_number_of_remembered_sources_is_bounded(self) -> None:
        repeats = Repeats()
        first = (bytes(4), 0)
        for number in range(WATCHED + 1):
            source = (number.to_bytes(4, "big"), 0)
            verdicts = [repeats.same_again(source, b"same", 0) for _ in range(SAME)]
            self.assertEqual(verdicts, [False] * (SAME - 1) + [True])
        self.assertFalse(repeats.muted(first, 1))
        self.assertTrue(repeats.muted((bytes([0, 0, 0, 1]), 0), 1))
        for number in range(WATCHED):
            repeats.same_again((number.to_bytes(4, "big"), 1), b"same", 0)
        for _ in range(SAME - 2):
            self.assertFalse(repeats.same_again((bytes(4), 1), b"same", 0))
        repeats.same_again((b"new!", 1), b"same", 0)
        repeats.same_again((b"new?", 1), b"same", 0)
        self.assertTrue(repeats.same_again((bytes(4), 1), b"same", 0))  # the one that was heard from stays
