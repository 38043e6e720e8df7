"""Injects faults into the output of a connection: the layer directly below the conversation.

So bytes are counted as the service sends them: TLS records and WebSocket frames do not count. Delayed bytes are unsent
bytes: they count in `buffer`, and reading pauses above it.

* A stream keeps its order. Each write is delayed; then the bytes are paced by `rate` and `chunk`.
* A transport of messages delays, drops, duplicates, reorders, changes and cuts whole messages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.error import ConnectionAborted

from echod.faults.injector import Injection
from echod.faults.pattern import Corruption, Fates, corrupted, cut
from echod.faults.settings import Faults
from echod.model import PLAIN, Arrival
from echod.transports.layers.delayed_output import DelayedOutput
from echod.transports.layers.layer_interface import LINGER, Build, Layer, StreamTransport
from echod.transports.layers.named_timers import NamedTimers

KEPT: Final = 1.0  #: seconds that a reordered message waits for the next one
SENT_WITHIN: Final = 5.0  #: seconds to wait until the peer has acknowledged all bytes, before a reset
CHECK: Final = 0.01  #: seconds between two checks of that
HANGS: Final = ("hang_after", "half_open_after")  #: limits after which the connection stays open


class FaultInjected(ConnectionAborted):
    """A fault of the configuration has reset the connection."""


class FaultLayer(Layer):
    """The faults of one connection; `clock` has callLater and seconds."""

    __slots__ = (
        "_clock", "_close_due", "_closing", "_corruption", "_dropped", "_fates", "_injection", "_kept",
        "_linger", "_messages", "_most", "_never_reads", "_output", "_over", "_paused", "_reported", "_stuck",
        "_timers", "_wants_end", "_writes", "sent",
    )  # fmt: skip

    def __init__(self, build: Build, clock: Any, injection: Injection) -> None:
        super().__init__(build)
        self._clock, self._injection = clock, injection
        self.sent = 0  #: bytes given to the level below
        self._output = DelayedOutput(clock, self._send, self._go_on)
        self._begin_pattern()
        self._messages = False
        self._kept: tuple[bytes, bool | None] | None = None  # a reordered message
        self._most = 1 << 62  # unsent bytes above which the level above is stuck
        self._stuck = False
        self._paused = self._never_reads = False
        self._over = False  # a fault has ended the output
        self._wants_end = self._closing = False  # the level above has finished; it has closed
        self._close_due: float | None = None  # when a delayed close may happen
        self._linger, self._dropped = LINGER, 0
        self._reported: set[str] = set()  # faults that are counted once for a connection
        self._timers = NamedTimers(clock)

    def _begin_pattern(self) -> None:
        self._writes = 0
        self._corruption, self._fates = Corruption(self._injection.pattern), Fates(self._injection.pattern)

    def choose(self, faults: Faults) -> None:
        """Use other faults for this connection from now on. A seed begins the pattern again."""
        self._injection.choose(faults)
        if faults.seed is not None:
            self._begin_pattern()
        self._changed()

    # for the level below

    def begin(self, below: StreamTransport) -> None:
        self.below, self.facts = below, below.facts
        if self._injection.refuses():
            below.abort(FaultInjected())
            return
        self._messages = self._output.whole = below.facts.shape.keeps_messages
        self._injection.injector.subscribe(self._changed)
        self._set_reading()
        self.begin_above()
        self._changed()

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        if self._closing:
            self._dropped += len(data)
        else:
            self.receiver.received(data, arrival)

    def ended(self) -> None:
        if not self._closing:
            self.receiver.ended()

    def stuck(self) -> None:
        self._output.blocked = True
        self._weigh(stuck=True)

    def drained(self) -> None:
        self._output.unblock()
        self._go_on()

    def lost(self, reason: Exception) -> None:
        if self.receiver is None:  # before `begin`; the level above must give back its slot nevertheless
            self.receiver = self._built()
        else:
            self._stop()
            self._injection.injector.unsubscribe(self._changed)
        self.receiver.lost(reason)

    # for the level above

    @property
    def unsent(self) -> int:
        kept = 0 if self._kept is None else len(self._kept[0]) or 1
        return int(self.below.unsent) + self._output.size + kept

    @property
    def dropped(self) -> int:
        return self._dropped + int(self.below.dropped)

    def write(self, data: bytes, text: bool | None = None) -> None:
        faults = self._injection.faults
        if self._closing or not (data or self._messages):
            return
        if faults.silent or self._over or self._is_full(faults):
            self._withhold(data, "silent" if faults.silent else None)
            return
        index, self._writes = self._writes, self._writes + 1
        if self._messages:
            self._write_message(faults, data, text)
        else:
            self._enqueue(faults, self._injection.pattern.delay(faults, index), data, None)
        self._run()
        self._weigh()

    def flush(self) -> None:
        self._run()
        self.below.flush()

    def pause(self) -> None:
        self._paused = True
        self.below.pause()

    def resume(self) -> None:
        self._paused = False
        if not self._never_reads:
            self.below.resume()

    def read_at_once(self, size: int) -> None:
        self._most = size
        self.below.read_at_once(size)

    def finish(self) -> None:
        self._wants_end = True
        self._run()

    def close(self, linger: float = LINGER) -> None:
        """As StreamTransport. Without `linger`, the time limit `idle` is over: then no fault delays the close."""
        self._wants_end = self._closing = True
        self._linger = min(self._linger, linger)
        if linger:
            self.resume()
            self._run()
        else:
            self._stop()
            self.below.close(linger)

    def abort(self, reason: Exception | None = None) -> None:
        self._stop()
        self.below.abort(reason)

    # output

    def _write_message(self, faults: Faults, data: bytes, text: bool | None) -> None:
        fate = self._fates.next(faults)
        if fate.drop:
            self._withhold(data, "drop")
            return
        if faults.truncate is not None and len(data) > faults.truncate:
            part = cut(data, faults.truncate, text)
            self._withhold(data[len(part) :], "truncate")
            data = part
        if fate.corrupt is not None and data:
            data = corrupted(data, fate.corrupt, text)
            self._count("corrupt")
        if fate.reorder and self._kept is None:
            self._kept = (data, text)
            self._count("reorder")
            self._timers.begin("kept", KEPT, self._release_kept)
            return
        self._enqueue(faults, fate.delay, data, text)
        if fate.duplicate:
            self._count("duplicate")
            self.facts.withheld -= len(data)
            self._enqueue(faults, fate.delay, data, text)
        self._release_kept()

    def _release_kept(self) -> None:
        """Send a reordered message: after the next one, or because no other has followed it."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._output.add(0, *kept)
            self._go_on()

    def _enqueue(self, faults: Faults, delay: float, data: bytes, text: bool | None) -> None:
        if delay:
            self._count("delay")
        if faults.rate:
            self._count("rate")
        if faults.chunk and faults.chunk < len(data):
            self._count("chunk")
        self._output.add(delay, data, text)

    def _run(self) -> None:
        """Send what may be sent now, and end the output after the last byte if the level above has finished."""
        faults = self._injection.faults
        self._output.run(faults.rate, faults.chunk, self.below.flush)
        if self._wants_end and not self._output and self._kept is None:
            self._end()

    def _go_on(self) -> None:
        """As `_run`, outside a call of the level above, which is informed if all bytes are sent."""
        self._run()
        if self._stuck and not self._output and not self._output.blocked and self._kept is None:
            self._stuck = False
            self.receiver.drained()

    def _send(self, data: bytes, text: bool | None) -> None:
        faults = self._injection.faults
        limit, name = faults.limit(cuts=not self._messages)
        reached = limit is not None and self.sent + len(data) >= limit
        part = cut(data, limit - self.sent, text) if limit is not None else data
        if faults.corrupt and not self._messages:
            part, count = self._corruption.applied(part, self.sent, faults.corrupt)
            if count:
                self._count("corrupt", count)
        if part or not data:
            self.below.write(part, text)
        if limit is None or not reached:
            self.sent += len(part)
            return
        self.sent = limit
        self._withhold(data[len(part) :], None)
        self._reach(name)

    def _is_full(self, faults: Faults) -> bool:
        limit, _ = faults.limit(cuts=not self._messages)
        return limit is not None and self.sent >= limit

    def _reach(self, name: str) -> None:
        """Perform the fault of a limit, after the last byte before it."""
        self._forget_output()
        self._over = name in ("reset_after", "close_after", "half_close_after")
        if name not in ("truncate", "half_open_after"):
            self._count_once(name)
        if name == "close_after":
            self.below.close()
        elif name == "half_close_after":
            self.below.finish()
        elif name in ("reset_after", "half_open_after"):
            call = partial(self.abort, FaultInjected()) if name == "reset_after" else self._vanish
            self._timers.begin("received", 0, self._check_received, call, self._clock.seconds() + SENT_WITHIN)

    def _vanish(self) -> None:
        kernel = self.facts.kernel
        if error := "the socket belongs to Twisted" if kernel is None else kernel.vanish():
            self._injection.injector.report_unavailable("half-open-after", error)
        else:
            self._count_once("half_open_after")

    def _check_received(self, call: Callable[[], None], latest: float) -> None:
        """Call when the peer has received all bytes, or at `latest`: a reset drops those in the send buffer."""
        kernel = self.facts.kernel
        waits = bool(self.below.unsent) or (kernel is not None and bool(kernel.unacknowledged()))
        if waits and self._clock.seconds() < latest:
            self._timers.begin("received", CHECK, self._check_received, call, latest)
        else:
            call()

    def _end(self) -> None:
        """Finish or close, unless a fault prevents or delays it."""
        faults, now = self._injection.faults, self._clock.seconds()
        hangs = faults.silent or (self._is_full(faults) and faults.limit(cuts=not self._messages)[1] in HANGS)
        if hangs and not self.facts.going_away:
            return
        if faults.delay_close and self._close_due is None:
            self._close_due = now + faults.delay_close
            self._count("delay_close")
            self._timers.begin("close", faults.delay_close, self._go_on)
        if self._close_due is not None and "close" in self._timers:
            return
        if self._closing:
            self.below.close(self._linger)
        else:
            self.below.finish()

    # state

    def _changed(self) -> None:
        """Apply other faults: a limit may be reached, and reading may stop or continue."""
        if self._over:
            return
        self._set_reading()
        limit, name = self._injection.faults.limit(cuts=not self._messages)
        if limit is not None and self.sent >= limit:
            self._reach(name)
        self._go_on()

    def _set_reading(self) -> None:
        never, was = self._injection.faults.never_read, self._never_reads
        self._never_reads = never
        if never and not was:
            self._count("never_read")
            self.below.clamp()
            self.below.pause()
        elif was and not never and not self._paused:
            self.below.resume()

    def _weigh(self, *, stuck: bool = False) -> None:
        """Inform the level above if too many bytes are unsent, or if they take too much memory."""
        if not self._stuck and (stuck or self._output.memory > self._most) and self.receiver is not None:
            self._stuck = True
            self.receiver.stuck()

    def _withhold(self, data: bytes, fault: str | None) -> None:
        self.facts.withheld += len(data)
        if fault is not None:
            self._count(fault)
        elif data and self._injection.faults.limit(cuts=not self._messages)[1] == "truncate":
            self._count_once("truncate")

    def _forget_output(self) -> None:
        self.facts.withheld += self._output.clear() + len(self._kept[0] if self._kept else b"")
        self._kept = None

    def _stop(self) -> None:
        self._over = True
        self._forget_output()
        self._timers.cancel()

    def _count(self, field: str, times: int = 1) -> None:
        self._injection.count(field.replace("_", "-"), times)

    def _count_once(self, field: str) -> None:
        if field not in self._reported:
            self._reported.add(field)
            self._count(field)
