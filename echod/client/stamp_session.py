"""The session of a ping over UDP: it sends STAMP packets, and times replies by the kernel's stamps."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

from echod.client.direction_loss import DirectionLoss
from echod.client.directions import Directions, OneWay
from echod.client.dscp_marks import DscpMarks
from echod.client.probe_ledger import ProbeLedger, ProbeResult, ReplyClass
from echod.client.stamp_probe import Recognized, Replier, StampProbes
from echod.client.statistics import Times
from echod.model import NOTHING, PLAIN, Arrival, Quiet, Reply

A_STEP: Final = 0.001
"""Seconds by which the wall clock and the monotonic one differ from one probe to the next: a step, not a drift."""
_DRIFT: Final = 0.001  #: the largest adjustment of the clock's speed, as a fraction (adjtimex(2) has 500 ppm)
_APART: Final = 0.000005  #: seconds between two readings of clocks that count as one moment
_READINGS: Final = 5
_BELIEVED: Final = 60_000_000_000  #: nanoseconds since the kernel's stamp; with more the clock was stepped since


class StampSession(Quiet):
    """Sends the probes of `probes`, and reports each reply to `on_result`.

    Times are those of `clock`, which is monotonic. A stamp of the kernel is a wall-clock time. It is converted by its
    distance from the present, so that a step of the wall clock spoils no round-trip time. `wall_clock_ns` is read
    together with `clock` for that.
    """

    def __init__(
        self,
        probes: StampProbes,
        account: ProbeLedger,
        clock: Callable[[], float],
        wall_clock_ns: Callable[[], int],
        opened: Callable[[], None],
        on_result: Callable[[ProbeResult], None],
        remembered: int,
    ) -> None:
        self._probes = probes
        self._account = account
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._opened = opened
        self._on_result = on_result
        self._remembered = remembered
        self._sent_ns = array("q", bytes(8 * remembered))  # T1 of each probe
        self._difference: tuple[float, float] | None = None  # of the clocks at the last probe, and when it was
        self.directions = Directions()
        self.loss = DirectionLoss()
        self.processing = Times()  #: of UDPEchoPlus
        self.dscp = DscpMarks()
        self.repliers: set[str] = set()
        self.clock_steps = 0
        self.kernel_sent = self.kernel_received = 0  #: how many times are the kernel's

    def opened(self) -> Reply:
        self._opened()
        return NOTHING

    def ask(self) -> Reply:
        """The next probe, to be sent at once; its time starts now, until the kernel's is known."""
        number = self._account.sent + 1
        now, now_ns = self._clocks()
        self._watch_clock(now, now_ns)
        packet = self._probes.request(number, now_ns)
        self._sent_ns[number % self._remembered] = self._wall_clock_ns()
        self._account.send(self._clock())
        return Reply(packet)

    def _clocks(self) -> tuple[float, int]:
        """Both clocks at one moment. If the process was interrupted between the readings, they are read again."""
        before, now_ns, after = self._clock(), self._wall_clock_ns(), self._clock()
        for _ in range(_READINGS):
            if after - before < _APART:
                break
            before, now_ns, after = self._clock(), self._wall_clock_ns(), self._clock()
        return before, now_ns

    def sent(self, number: int, sent_ns: int) -> None:
        """Use the time at which the kernel has sent a probe."""
        now, now_ns = self._clocks()
        age = now_ns - sent_ns
        at = number % self._remembered
        if 0 <= age < _BELIEVED and number > self._account.sent - self._remembered and sent_ns >= self._sent_ns[at]:
            self.kernel_sent += 1
            self._sent_ns[at] = sent_ns
            self._account.restart(number, now - age / 1e9)

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        now, now_ns = self._clocks()
        if arrival.received_ns is not None and 0 <= now_ns - arrival.received_ns < _BELIEVED:
            self.kernel_received += 1
            now -= (now_ns - arrival.received_ns) / 1e9
            now_ns = arrival.received_ns
        found = self._probes.recognize(data, self._account.sent)
        if isinstance(found, str):
            number = self._probes.is_of(data, self._account.sent)
            self._on_result(self._account.mistake(number, len(data), found))
            return NOTHING
        self.repliers.add(found.replier.value)
        result = self._account.answer(found.number, len(data), now)
        if found.dscp is not None:
            requested, reached, _, refused = found.dscp
            self.dscp.add(requested, reached, refused=bool(refused), traffic_class=arrival.traffic_class)
        one_way = self._measure(found, result.kind, now_ns)
        self._on_result(result._replace(remote=found.replier.value, ttl=arrival.ttl, one_way=one_way))
        return NOTHING

    def _measure(self, found: Recognized, kind: ReplyClass, received_ns: int) -> OneWay | None:
        """Note what the reply of a reflector, or of UDPEchoPlus, shows beyond the round-trip time."""
        in_time = kind in (ReplyClass.RECEIVED, ReplyClass.REORDERED)
        if found.replier is Replier.UDPECHOPLUS:
            self.loss.add(found.number - 1, found.reply_number - 1, found.reply_number, is_of_all=True)
            if found.processing is not None and in_time:
                self.processing.add(found.processing)
        answer = found.answer
        if answer is None:
            return None
        counted = None if found.counters is None else found.counters[0]
        self.loss.add(answer.sender_sequence, answer.sequence, counted)
        if not in_time:
            return None
        sent_ns = self._sent_ns[found.number % self._remembered]
        return self.directions.add(sent_ns, received_ns, answer.received, answer.timestamp, answer.error_estimate)

    def _watch_clock(self, now: float, now_ns: int) -> None:
        """Count steps of the wall clock: between two probes it advances as the monotonic one, except for its drift."""
        difference = now_ns / 1e9 - now
        if self._difference is not None:
            before, at = self._difference
            self.clock_steps += abs(difference - before) > A_STEP + _DRIFT * (now - at)
        self._difference = (difference, now)
