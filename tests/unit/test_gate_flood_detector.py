"""The flood detector: occasional refusals are ignored, a thousand refusals a second are a flood."""

from twisted.trial.unittest import SynchronousTestCase

from echod.gate.access import Access, Network, packed_address
from echod.gate.datagrams import DatagramGate
from echod.gate.flood_detector import FLOOD, OF_PORTS, PORTS, WATCHED, WITHIN, Flood, Floods
from echod.gate.limits import Limits, Rate
from echod.gate.refusal import Refusal
from tests.gate.forms import networks

EVERYBODY: list[Network] = networks("0.0.0.0/0 ::/0")


class Noted(SynchronousTestCase):
    def setUp(self) -> None:
        self.floods = Floods()

    def note(
        self, times: int, seconds: float, what: bytes = PORTS, wanted: float = OF_PORTS, start: float = 5.0
    ) -> None:
        for number in range(times):
            self.floods.note(what, start + number * seconds / times, wanted)

    def test_one_refusal_below_the_threshold_is_not_a_flood(self) -> None:
        self.note(FLOOD - 1, WITHIN / 2)
        self.assertEqual(self.floods.take(), {})
        self.note(1, 0, start=5.0 + WITHIN / 2)
        self.assertEqual(self.floods.take(), {PORTS: Flood(2 * FLOOD / WITHIN, OF_PORTS)})
        self.assertEqual(self.floods.take(), {}, "a flood is reported once")

    def test_the_same_number_over_a_longer_time_is_not_a_flood(self) -> None:
        self.note(10 * FLOOD, 10.5 * WITHIN)
        self.assertEqual(self.floods.take(), {})

    def test_a_run_counts_each_of_its_datagrams(self) -> None:
        for at, count in ((5.0, 1), (5.1, FLOOD - 2), (5.2, 1)):
            self.floods.note(b"net", at, 200.0, count)
        self.assertEqual(set(self.floods.take()), {b"net"})

    def test_networks_are_counted_separately(self) -> None:
        for number in range(FLOOD):
            self.floods.note(b"one" if number % 2 else b"two", 5.0)
        self.assertEqual(self.floods.take(), {})

    def test_the_filter_passes_twice_the_rate_of_the_network(self) -> None:
        self.note(FLOOD, 0.1, b"net", wanted=200.0)
        flood = self.floods.take()[b"net"]
        self.assertLess(abs(flood.refused - FLOOD / 0.1), FLOOD)
        self.assertAlmostEqual(
            flood.share * (flood.refused + 200), 2 * 200
        )  # datagrams that were not refused were read too

    def test_refusals_near_the_rate_of_the_network_are_not_a_flood(self) -> None:
        self.note(FLOOD, WITHIN / 2, b"net", wanted=3_000.0)
        self.assertEqual(self.floods.take(), {})

    def test_the_number_of_watched_networks_is_bounded(self) -> None:
        for number in range(3 * WATCHED):
            self.floods.note(number.to_bytes(3, "big"), 5.0)
        self.assertEqual(len(self.floods._noted), WATCHED)


class Gate(SynchronousTestCase):
    """The refusals that the gate notes."""

    def flood(self, host: str, port: int = 40_000, *, rate: Rate | None = None, size: int = 1) -> dict[bytes, Flood]:
        gate = DatagramGate(Access(EVERYBODY), Limits(rate=rate or Rate(10, 20)), lambda: 5.0)
        packed = packed_address(host)
        for number in range(FLOOD + 20):
            gate.admit(packed, port, b"%d" % number + bytes(size), loopback=False)
        return gate.floods.take()

    def test_refusals_of_forbidden_ports_are_noted(self) -> None:
        self.assertEqual(list(self.flood("192.0.2.1", 7)), [PORTS])

    def test_networks_above_their_rate_are_noted(self) -> None:
        self.assertEqual(list(self.flood("192.0.2.1")), [bytes([192, 0, 2])])
        self.assertEqual(list(self.flood("::ffff:192.0.2.1")), [bytes([192, 0, 2])])
        self.assertEqual(list(self.flood("2001:db8:0:1234::1")), [bytes.fromhex("20010db8000012")])

    def test_networks_above_their_rate_of_bytes_are_noted(self) -> None:
        self.assertEqual(list(self.flood("192.0.2.1", rate=Rate(900, 20_000), size=60_000)), [bytes([192, 0, 2])])

    def test_sources_that_repeat_a_datagram_are_noted(self) -> None:
        gate = DatagramGate(Access(EVERYBODY), Limits(rate=Rate(200, 400)), lambda: 5.0)
        verdicts = {gate.admit(packed_address("192.0.2.1"), 40_000, b"same", loopback=False) for _ in range(4 * FLOOD)}
        self.assertEqual(verdicts, {None, Refusal.REPEAT})
        self.assertEqual(list(gate.floods.take()), [bytes([192, 0, 2])])

    def test_sources_that_are_only_not_allowed_are_not_noted(self) -> None:
        gate = DatagramGate(Access([]), Limits(), lambda: 5.0)
        for _ in range(4 * FLOOD):
            gate.admit(packed_address("192.0.2.1"), 40_000, b"", loopback=False)
        self.assertEqual(gate.floods.take(), {})
