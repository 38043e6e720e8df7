"""WebSocket (RFC 6455) as a layer: bytes below, whole messages above. Both roles share this module.

      Conversation       messages, text or binary
           │
      WebSocket          answers pings, exchanges Close frames
           │
      StreamSocket, TLS  bytes

Its rules, besides those of `websocket_frames`:

* A read handles FREE frames at once. More frames cost units of the work budget (`gate.work_budget`).
* Incomplete messages of more than HELD bytes count in the send budget (`gate.total_buffer`), as unsent bytes do. While
  it is used up, a connection whose message grows is closed: pausing it would not free memory.
* A peer sends at most CONTROL pings and pongs a second.
* `pause` acts between two messages. Then the frames of at most one read wait here.
* Close frames end a connection. WebSocket cannot half-close, so `finish` and `close` both send Close. The peer has
  LINGER seconds to answer it.

`echod.transports.layers.websocket_server` and `websocket_client` have the handshakes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from websockets.extensions import Extension
from websockets.frames import BINARY, CLOSE, PING, PONG, TEXT, Opcode

from echod.gate.total_buffer import Pressure, Watermark
from echod.gate.work_budget import Portion, WorkBudget
from echod.model import PLAIN, Arrival, share_of
from echod.shape import Shape
from echod.transports.handshake_slot import Rejection
from echod.transports.layers.layer_interface import (
    LINGER,
    Build,
    HandshakeLayer,
    LingerTimeout,
    MessageTooLarge,
    ProtocolError,
)
from echod.transports.layers.websocket_frames import (
    GOING_AWAY,
    NORMAL,
    POLICY,
    TOO_BIG,
    TRY_AGAIN_LATER,
    MessageReader,
    WrongFrames,
    encoded,
    is_data,
    is_utf8,
)

HEAD: Final = 16_384  #: bytes of the head of a request or a response: twice what nginx and Apache accept in one line
FREE: Final = 8  #: frames of one read that cost no units, so that a usual read does not start a turn of the budget
FRAME_UNITS: Final = 4  #: units of the work budget for one more frame, which takes about 6 µs
UNIT_BYTES: Final = 4_096  #: bytes of a frame that cost one more unit: unmasking and checking them takes 1 to 2 µs
HELD: Final = 65_536  #: bytes of an incomplete message that are not counted: one read
CONTROL: Final = 1_000
"""Control frames that a peer may send in one second. A ping each millisecond is more than any measurement needs, and
answering it takes about 1 % of a processor."""

_TEXT: Final = Arrival(text=True)
_BINARY: Final = Arrival(text=False)


class WebSocket(HandshakeLayer):
    """A connection of either role. A subclass overrides `handshake`, and calls `open` at its end.

    A message is sent as text if `text` is not False and it is valid UTF-8, otherwise as binary.
    """

    __slots__ = (
        "_close_received", "_close_sent", "_closing", "_control", "_counted", "_deflate", "_dropped", "_frames",
        "_held", "_lingering", "_mark", "_portion", "_second", "_share", "_truncated", "_unsent", "_work",
        "on_pong", "reader",
    )  # fmt: skip

    is_client: ClassVar[bool] = False

    def __init__(
        self,
        build: Build,
        clock: Any,
        seconds: float,
        work: WorkBudget | None = None,
        mark: Watermark | None = None,
    ) -> None:
        super().__init__(build, clock, seconds)
        self._mark, self._counted = mark, 0  # the budget, and the bytes of an incomplete message in it
        self.reader: MessageReader | None = None  # from `open` on
        self.on_pong: Callable[[bytes], None] = _ignore  #: called with the payload of each pong
        self._work = work or WorkBudget()
        self._share = ""  # the client, for the work budget
        self._deflate: Extension | None = None
        self._held = False  # frames wait for the work budget
        self._frames = 0  # of this read
        self._portion: Portion | None = None  # units for the frames after FREE
        self._second, self._control = 0, 0  # control frames in this second
        self._closing = False  # `close` was called: received data is dropped
        self._close_sent = self._truncated = False
        self._close_received: bytes | None = None  # the payload of the peer's Close
        self._lingering: Any = None  # the timer of the peer's Close
        self._unsent = self._dropped = 0  # `_unsent`: of messages written since the level below had nothing unsent

    def open(self, response: bytes, rest: bytes, message: int, extensions: Sequence[Extension] = ()) -> None:
        """Complete the handshake: build the receiver, send `response`, and handle `rest` as frames.

        `message` is the size of the largest message. If the gate refuses the client, nothing is sent.
        """
        self._cancel()
        self.facts.shape = Shape.MESSAGE
        self._share = share_of(self.facts.remote, self.facts.user)
        self._deflate = extensions[0] if extensions else None
        self.reader = MessageReader(self._take, self._count, message, masked=not self.is_client, deflate=self._deflate)
        receiver = self.receiver = self._built()
        if response and not isinstance(receiver, Rejection):
            self.below.write(response)
        receiver.begin(self)
        if rest:
            self.received(rest)

    # for the level below

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        reader = self.reader
        if reader is None:
            self.handshake(data)
        elif reader.is_over:
            self._dropped += len(data)
        else:
            self.facts.activity += len(data)
            reader.feed(data)
            self._frames, self._portion = 0, None
            self._run(reader)
            if self._counted or reader.held > HELD:
                self._count_held(reader)

    def ended(self) -> None:
        """Handle a FIN. Without a Close frame before it the connection is truncated."""
        if self.reader is None or self._closing:
            self.below.close()
        elif not self.reader.is_over:
            self.facts.truncated = self._truncated = True
            self.reader.end()
            self._await_end()
            self.receiver.ended()

    def lost(self, reason: Exception) -> None:
        self._cancel()
        self._work.cancel(self._proceed)
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self.reader is not None:
            self.reader.end()
            self._count_held(self.reader)
            self.receiver.lost(reason)
            self.reader, self.on_pong = None, _ignore  # the reader and this layer refer to each other

    # for the level above

    @property
    def unsent(self) -> int:
        below = int(self.below.unsent)  # not 0 while a pong is unsent: `stall` limits a peer that reads none
        return below and max(1, min(below, self._unsent) if self._deflate is None else self._unsent)

    @property
    def dropped(self) -> int:
        return self._dropped + int(self.below.dropped)

    def write(self, data: bytes, text: bool | None = None) -> None:
        """Send one message, in one frame. After a Close frame nothing is sent."""
        if not self._close_sent:
            self._send(BINARY if text is False or not is_utf8(data) else TEXT, data)

    def pause(self) -> None:
        self._paused = True
        self._set_reading()

    def resume(self) -> None:
        self._paused = False
        self._read_on()

    def finish(self) -> None:
        self._send_close()

    def close(self, linger: float = LINGER) -> None:
        """Send Close, and close after the peer's Close, or after LINGER seconds; 0 closes without waiting for it."""
        if self._closing:
            return
        self._closing = True
        self._held = self._paused = False
        self._work.cancel(self._proceed)
        self._send_close()
        reader = self.reader
        if reader is None or reader.is_over or not linger:
            if reader is not None:
                reader.end()
            self.below.close(linger)
        else:
            self._await_end()
            self._read_on()  # the peer's Close may be here already

    def keep_alive(self) -> None:
        """Send a ping."""
        self.ping(b"")

    def ping(self, data: bytes) -> None:
        """Send a ping with up to 125 bytes; `on_pong` is called with the same bytes."""
        if self.reader is not None and not self._close_sent:
            self._send(PING, data)

    # received frames

    def _run(self, reader: MessageReader) -> None:
        try:
            reader.run()
        except WrongFrames as error:
            self._fail(error)

    def _take(self, opcode: Opcode, data: bytes) -> None:
        if opcode is TEXT or opcode is BINARY:
            if self._closing:
                self._dropped += len(data)
            else:
                self.receiver.received(data, _TEXT if opcode is TEXT else _BINARY)
        elif opcode is CLOSE:
            self._close_received = data
            self._note_close(data)
            if self._closing:
                self.below.close()
            else:
                self._await_end()
                self.receiver.ended()
        else:
            self._take_control(opcode, data)

    def _note_close(self, payload: bytes) -> None:
        """Handle the peer's reason for its Close; a server needs none."""

    def _take_control(self, opcode: Opcode, data: bytes) -> None:
        second = int(self._clock.seconds())
        if second != self._second:
            self._second, self._control = second, 0
        self._control += 1
        if self._control > CONTROL:
            self._fail(WrongFrames(POLICY, f"more than {CONTROL} control frames in a second"))
        elif opcode is PONG:
            self.on_pong(data)
        elif not self._close_sent:
            self._send(PONG, data)

    def _count(self, size: int) -> None:
        """Count a frame. After FREE frames of a read, it costs units, and the next frames may have to wait."""
        self._frames += 1
        if self._frames <= FREE:
            return
        if self._portion is None:
            self._portion = self._work.portion()
        if self._portion.take():
            self._portion.spend(FRAME_UNITS - 1 + size // UNIT_BYTES)
        else:
            self._held = True
            self._set_reading()
            self._work.wait(self._proceed, self._share)

    def _count_held(self, reader: MessageReader) -> None:
        """Count the bytes of an incomplete message. If the budget is used up and they have grown, close."""
        if self._mark is None:
            return
        held = reader.held if reader.held > HELD else 0
        grown, self._counted = held - self._counted, held
        self._mark.change(grown)
        if grown > 0 and self._mark.pressure is Pressure.FULL:
            self._fail(WrongFrames(TRY_AGAIN_LATER, "too many incomplete messages"))
            self._count_held(reader)

    def _proceed(self) -> None:
        """Handle the frames that have waited for the work budget."""
        self._held, self._portion = False, None
        self._read_on()

    def _read_on(self) -> None:
        """Handle frames that have waited here, and then read."""
        reader = self.reader
        if reader is not None and not self._held:
            reader.stopped = self._paused
            self._run(reader)
            self._set_reading()

    def _set_reading(self) -> None:
        """Read from the level below, unless the receiver pauses or frames wait."""
        if self.reader is not None:
            self.reader.stopped = self._paused or self._held
        if self._paused or self._held:
            self.below.pause()
        else:
            self.below.resume()

    # sent frames

    def _send(self, opcode: Opcode, data: bytes) -> None:
        if not self.below.unsent:
            self._unsent = 0
        if is_data(opcode):
            self._unsent += len(data) or 1
        self.below.write(encoded(opcode, data, masked=self.is_client, deflate=self._deflate))

    def _send_close(self) -> None:
        """Send Close: the peer's payload again, or 1001 if the daemon stops, or 1000."""
        if self._close_sent or self.reader is None:
            return
        payload = self._close_received
        if payload is None:
            payload = struct.pack("!H", GOING_AWAY if self.facts.going_away else NORMAL)
        self._send(CLOSE, payload)
        self._close_sent = True

    def _fail(self, wrong: WrongFrames) -> None:
        """End the connection because of the peer (RFC 6455 7.1.7)."""
        assert self.reader is not None, "frames are parsed after the handshake"
        self.reader.end()
        refused = wrong.code in (TOO_BIG, TRY_AGAIN_LATER)
        self.facts.error = MessageTooLarge(str(wrong)) if refused else ProtocolError(str(wrong))
        if not self._close_sent:
            self._send(CLOSE, struct.pack("!H", wrong.code) + str(wrong).encode("ascii", "replace")[:123])
            self._close_sent = True
        self.below.close()

    def _await_end(self) -> None:
        """Give the peer LINGER seconds for its Close, or this side as long to end after the peer's Close."""
        if self._lingering is None:
            self._lingering = self._clock.callLater(LINGER, self._lingered)

    def _lingered(self) -> None:
        self._lingering = None
        if self.below.unsent:  # `stall` limits this
            self._await_end()
        elif self._close_received is None and not self._truncated:
            self.below.abort(LingerTimeout())
        else:
            self.close()


def _ignore(_payload: bytes) -> None:
    """The default of `on_pong`."""
