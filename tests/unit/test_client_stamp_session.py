"""The session of a ping over UDP: stamps of the kernel, steps of the clock, and times by direction."""

import random

from echod.client.probe_ledger import ProbeLedger, ReplyClass
from echod.client.stamp_probe import StampProbes
from echod.client.stamp_session import StampSession
from echod.measurement.clock_quality import CachedClockQuality, ClockQuality
from echod.model import NOTHING, Arrival, Context, Peer
from echod.services.reflector import Reflector, ReflectorOptions
from echod.services.udpechoplus import UDPEchoPlus
from echod.socket_names import Inet

MS = 1_000_000
PEER = Peer("udp", Inet("127.0.0.1", 862), Inet("127.0.0.1", 40_000))


class Lab:
    """A session, its two clocks, and a service whose clock is the wall clock too."""

    def __init__(self, service=Reflector, **options):
        self.mono, self.wall = 100.0, 1_800_000_000_000_000_000
        self.account, self.results = ProbeLedger(5.0), []
        quality = CachedClockQuality(lambda: self.mono, lambda: ClockQuality(True, 0.001))
        probes = StampProbes((64,), random.Random(1), quality, remembered=1024)
        self.session = StampSession(
            probes, self.account, lambda: self.mono, lambda: self.wall, lambda: None, self.results.append, 1024
        )
        context = Context(clock=lambda: self.mono, wall_clock_ns=lambda: self.wall)
        self.service = service(ReflectorOptions(**options), context) if options else service(context=context)

    def pass_time(self, milliseconds):
        self.mono += milliseconds / 1000
        self.wall += round(milliseconds * MS)

    def ask(self) -> bytes:
        """The next probe."""
        return self.session.ask().data or b""

    def exchange(self, forward=10, processing=1, backward=20, late=0):
        """One probe and its reply, which the client reads `late` milliseconds after the kernel has received it."""
        packet = self.ask()
        self.pass_time(forward)
        received_ns, replies = self.wall, []
        self.pass_time(processing)
        self.service.datagram(packet, PEER, Arrival(received_ns=received_ns), replies.append)
        self.pass_time(backward)
        arrived_ns = self.wall
        self.pass_time(late)
        assert self.session.received(replies[0], Arrival(ttl=61, received_ns=arrived_ns)) is NOTHING
        return self.results[-1]


def test_a_reply_has_its_times_by_direction():
    lab = Lab()
    result = lab.exchange()
    assert (result.kind, result.number, result.remote, result.ttl) == (ReplyClass.RECEIVED, 1, "reflector", 61)
    assert round(result.seconds, 9) == 0.031
    assert [round(seconds, 6) for seconds in result.one_way] == [0.010, 0.020, 0.001]


def test_time_in_the_client_is_not_measured():
    lab = Lab()
    assert round(lab.exchange(late=500).seconds, 9) == 0.031
    assert lab.session.kernel_received == 1


def test_the_time_of_sending_is_the_kernels():
    lab = Lab()
    lab.session.ask()
    lab.pass_time(2)
    sent_ns = lab.wall - MS // 2  # the kernel sent it after 1.5 ms
    lab.session.sent(1, sent_ns)
    assert lab.session.kernel_sent == 1
    assert round(lab.account._times[1], 9) == 100.0015
    for wrong in (sent_ns + 10**12, sent_ns - 10**12):
        lab.session.sent(1, wrong)  # the clock was stepped: not believed
    assert lab.session.kernel_sent == 1


def test_a_step_of_the_wall_clock_changes_no_round_trip_time_and_is_counted():
    for step in (3600, -3600):
        lab = Lab()
        lab.exchange()
        lab.wall += step * 10**9
        assert round(lab.exchange().seconds, 9) == 0.031
        assert lab.session.clock_steps == 1
        packet = lab.ask()
        lab.wall += step * 10**9  # while the probe is under way
        lab.pass_time(31)
        lab.session.received(packet, Arrival(received_ns=lab.wall))
        assert round(lab.results[-1].seconds, 9) == 0.031
        lab.session.ask()
        assert lab.session.clock_steps == 2


def test_a_step_between_the_kernels_stamp_and_the_reading_is_not_believed():
    lab = Lab()
    packet = lab.ask()
    lab.pass_time(31)
    received_ns = lab.wall
    lab.wall -= 10**12
    lab.session.received(packet, Arrival(received_ns=received_ns))
    assert round(lab.results[-1].seconds, 9) == 0.031
    assert lab.session.kernel_received == 0


def test_both_clocks_are_read_again_after_an_interruption():
    lab = Lab()
    readings = iter([0.0, 0.015, 0.016, 0.016, 0.016])
    lab.session._clock = lambda: next(readings)
    assert lab.session._clocks() == (0.016, lab.wall)


def test_clocks_that_drift_are_not_stepped():
    lab = Lab()
    for _ in range(20):
        lab.exchange()
        lab.mono += 10
        lab.wall += round(10 * 1e9 * 1.0005)
    assert lab.session.clock_steps == 0


def test_losses_are_told_by_direction():
    lab = Lab(stateful=True)
    for _ in range(3):
        lab.exchange()
    lab.session.ask()  # lost forward: the reflector never sees it
    lab.exchange()
    lab.service.datagram(lab.ask(), PEER, Arrival(), lambda data: None)  # lost backward
    lab.exchange()
    assert lab.session.loss.lost(lab.account.sent) == {"forward": 1, "backward": 1, "unknown": 0}


def test_losses_of_udpechoplus_are_told_by_direction():
    lab = Lab(UDPEchoPlus)
    for _ in range(3):
        lab.exchange()
    lab.session.ask()  # lost forward
    lab.exchange()
    for _ in range(2):
        lab.service.datagram(lab.ask(), PEER, Arrival(), lambda data: None)  # lost backward
    lab.exchange()
    assert lab.session.loss.lost(lab.account.sent) == {"forward": 1, "backward": 2, "unknown": 0}
    lab.service.datagram(bytes(24), PEER, Arrival(), lambda data: None)  # another client
    lab.exchange()
    lab.service.datagram(bytes(24), PEER, Arrival(), lambda data: None)
    lab.exchange()
    assert not lab.session.loss.is_known


def test_a_late_or_repeated_reply_is_in_no_delay():
    lab = Lab()
    lab.exchange(forward=6000)
    assert lab.results[-1].kind is ReplyClass.LATE
    assert lab.results[-1].one_way is None
    assert lab.session.directions.forward.count == 0


def test_a_wrong_reply_is_a_mistake_of_its_probe():
    lab = Lab()
    packet = lab.ask()
    lab.session.received(packet[:-1])
    lab.session.received(b"else")
    assert [(one.kind, one.number) for one in lab.results] == [(ReplyClass.WRONG, 1), (ReplyClass.WRONG, None)]


def test_the_processing_time_of_udpechoplus():
    lab = Lab(UDPEchoPlus)
    assert lab.exchange().remote == "udpechoplus"
    assert round(lab.session.processing.mean, 6) == 0.001
