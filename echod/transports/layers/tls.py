"""TLS as a layer, for a server or a client.

Its rules:

* A server makes no TLS object before the first record of a plausible ClientHello. A silent client costs little, and
  OpenSSL sends no alert to a client that does not speak TLS.
* Many small records in one read cost units of the work budget, and may have to wait.
* After the peer's close_notify its bytes are ignored, and this side continues to send (RFC 8446 6.1). After our
  close_notify a FIN is sent, and no answer to it is awaited.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from typing import Any, Final

from echod.gate.handshakes import Handshakes
from echod.gate.work_budget import WorkBudget
from echod.model import PLAIN, Arrival, share_of
from echod.tls.handshake_facts import explained, handshake_facts, not_a_hello
from echod.transports.layers.detaching import Detached
from echod.transports.layers.layer_interface import (
    LINGER,
    Build,
    Facts,
    HandshakeLayer,
    HandshakeTimeout,
    Layer,
    ProtocolError,
    StreamTransport,
)
from echod.transports.layers.tls_engine import TlsEngine
from echod.transports.layers.tls_record_queue import READ, RECORD, RecordCost, RecordQueue, is_not_a_hello

NOT_TLS: Final = bytes.fromhex("15 0301 0002 020a")  #: fatal alert unexpected_message (RFC 8446 6)
COST: Final = 256  #: units of the work budget: a handshake takes about half a millisecond of the processor

UNCOUNTED: Final = Handshakes(sys.maxsize)
UNBOUNDED: Final = WorkBudget()

Verify = Callable[[ssl.SSLObject], None]
"""Checks the other side after a handshake. Raises ProtocolError with what is wrong."""


class TlsLayer(HandshakeLayer):
    """One connection over TLS. `clock` and `seconds` are those of HandshakeLayer.

    The role is that of `context`. With one of PROTOCOL_TLS_CLIENT it is a client: it asks for `server_hostname`, and
    calls `verify` before the level above begins. A server counts unfinished handshakes in `handshakes`, and starts no
    more of them in a turn than `work` permits. `choose` may choose another context by the first record of the client.
    """

    __slots__ = (
        "_choose", "_context", "_cost", "_deaf", "_engine", "_finished", "_handshakes", "_peer_fin", "_pumping",
        "_queue", "_since", "_throttled", "_verify", "_waits", "_work", "server_hostname",
    )  # fmt: skip

    hands_engine = True

    def __init__(
        self,
        build: Build,
        clock: Any,
        seconds: float,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        verify: Verify | None = None,
        handshakes: Handshakes = UNCOUNTED,
        work: WorkBudget = UNBOUNDED,
        choose: Callable[[bytes], ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(build, clock, seconds)
        self.server_hostname = server_hostname
        self._context, self._choose, self._verify = context, choose, verify
        self._handshakes, self._work = handshakes, work
        self._engine: TlsEngine | None = None
        self._queue = RecordQueue()  # received, and not decoded yet
        self._cost = RecordCost(work)
        self._throttled = False  # records wait for the work budget
        self._waits = False  # the handshake waits for a turn with units of the work budget
        self._pumping = False
        self._finished = False  # close_notify or a fatal alert was sent
        self._peer_fin = False
        self._deaf = False  # the peer has finished, or its further data is not wanted
        self._since = 0  # bytes of plaintext written since all was sent

    # for the level below

    def begin(self, below: StreamTransport) -> None:
        if self._engine is not None:
            Layer.begin(self, below)
            return
        super().begin(below)
        if self._context.protocol is ssl.PROTOCOL_TLS_CLIENT:
            self._begin_handshake()

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        engine = self._engine
        if self._deaf:
            return
        if engine is not None and self.receiver is not None and engine.queue.is_whole(data):
            data, ended = engine.decode_record(data)
            if ended or engine.output:
                self._decoded(data, ended)
            elif data:
                self.receiver.received(data)
            return
        self._queue.add(data)
        if engine is None:
            self._greet()
        elif self.receiver is not None or self._shake():
            self._cost.begin_read()
            self._pump()

    def ended(self) -> None:
        """Handle the peer's FIN. Without its close_notify, an attacker may have cut off the end of the data."""
        if self.receiver is None:
            super().ended()
            return
        self._peer_fin = True
        self._pump()

    def lost(self, reason: Exception) -> None:
        self._handshakes.end(self._evict)
        self._work.cancel(self._take_turn)
        self._work.cancel(self._proceed)
        super().lost(self.facts.error or reason)

    # for the level above

    @property
    def unsent(self) -> int:
        """Exact if it is 0. Else it may include the overhead of unsent records: at most 29 bytes for each.

        It is not 0 while a message of the protocol is unsent, so that `stall` also limits a peer that sends requests
        for new keys, and reads no answers.
        """
        below = int(self.below.unsent)
        return below and max(1, min(below, self._since))

    def write(self, data: bytes, text: bool | None = None) -> None:
        engine = self._engine
        if self._finished or not data or engine is None:
            return
        below = self.below
        self._since = self._since + len(data) if below.unsent else len(data)
        if len(data) <= RECORD:
            below.write(engine.encode(data))
        else:
            view = memoryview(data)
            for at in range(0, len(data), RECORD):
                below.write(engine.encode(view[at : at + RECORD]))

    def resume(self) -> None:
        self._paused = False
        self._read_on()

    def finish(self) -> None:
        self._notify()
        self.below.finish()

    def close(self, linger: float = LINGER) -> None:
        self._notify()
        self._stop()
        self.below.close(linger)

    def abort(self, reason: Exception | None = None) -> None:
        self._finished = True
        self._stop()
        self.below.abort(reason)

    def explained(self, error: ssl.SSLError) -> str:
        """The words for an error of the connection, for a log line or a message."""
        return explained(error)

    # for the fast path

    def detach(self) -> Detached:
        """As StreamSocket, with the engine, whose queue has the bytes that are not decoded yet."""
        detached: Detached = self.below.detach()
        detached.engine, self._engine = self._engine, None
        self.receiver = None
        return detached

    def attach(self, engine: TlsEngine, facts: Facts) -> None:
        """Continue with the engine of a connection whose handshake is complete. Called before `begin`."""
        self._engine, self._queue, self.facts = engine, engine.queue, facts

    def resume_from_fastpath(self, unsent: bytes, counted: int, data: bytes, *, ended: bool) -> None:
        """Continue after `attach` and `begin`: send `unsent`, and handle what the engine has decoded last.

        At most `counted` of the unsent bytes are bytes of a reply.
        """
        self.below.write(unsent)
        self._since = counted
        self._decoded(data, ended)
        self._cost.begin_read()
        self._pump()

    # the handshake

    def _greet(self) -> None:
        """Start the handshake of a server with a record that may be a ClientHello; otherwise refuse the client."""
        first = self._queue.first(6)
        if is_not_a_hello(first):
            self.below.write(NOT_TLS)
            self._fail(not_a_hello(self._queue.first(64)))
        elif self._queue.has_record and not self._waits:
            if self._work.is_used_up:
                self._waits = True
                self.below.pause()
                self._work.wait(self._take_turn, share_of(self.facts.remote, self.facts.user))
            else:
                self._begin_handshake()

    def _take_turn(self) -> None:
        self._begin_handshake()
        if not self._paused and not self._finished:
            self.below.resume()

    def _begin_handshake(self) -> None:
        server = self._context.protocol is not ssl.PROTOCOL_TLS_CLIENT
        if server:
            self._work.spend(COST)
            self._handshakes.begin(self._evict)
            if self._choose is not None:
                self._context = self._choose(self._queue.first(READ))
        self._engine = TlsEngine(self._context, self._queue, self.server_hostname)
        if self._shake():
            self._pump()

    def _shake(self) -> bool:
        """Continue the handshake. Returns whether it is complete, and the level above has begun."""
        engine = self._engine
        assert engine is not None
        try:
            while not engine.handshake(self._queue.take()):
                self._flush()
                if not self._queue.has_piece:
                    return False
        except ssl.SSLError as error:
            self._fail(self.explained(error))
            return False
        self._handshakes.end(self._evict)
        self._flush()
        tls = engine.tls
        try:
            if self._verify is not None:
                self._verify(tls)
        except ProtocolError as error:
            self._fail(str(error))
            return False
        name = getattr(tls, "asked", None) if tls.server_side else self.server_hostname
        self.facts.learned = {**(self.facts.learned or {}), "tls": handshake_facts(tls, name)}
        self.done()
        return True

    def _evict(self) -> None:
        """End the handshake, because many have begun after it."""
        self.abort(HandshakeTimeout("the handshake was ended: too many newer ones had begun"))

    # records

    def _permitted_piece(self) -> bytes | memoryview:
        """The next piece of received bytes, within the work budget. It is empty if no piece may be decoded now."""
        if not self._queue.has_piece:
            return b""
        if not self._cost.permits_more():
            self._throttled = True
            self.below.pause()
            self._work.wait(self._proceed, share_of(self.facts.remote, self.facts.user))
            return b""
        return self._queue.take()

    def _proceed(self) -> None:
        """Handle the records that have waited for the work budget."""
        self._throttled = False
        self._cost.begin_portion()
        self._read_on()

    def _read_on(self) -> None:
        self._pump()
        if not self._paused and not self._throttled:
            self.below.resume()

    def _pump(self) -> None:
        """Pass up the data that can be decoded, until it pauses."""
        engine = self._engine
        if self._pumping or self._throttled or self.receiver is None or engine is None:
            return
        self._pumping = True
        try:
            while not self._paused and not self._deaf:
                piece = self._permitted_piece()
                if piece:
                    begun = self._queue.begun
                    data, ended = engine.decode(piece)
                    self._cost.count(begun, engine.data_records)
                    self._decoded(data, ended)
                    continue
                if self._peer_fin and not self._throttled:
                    self.facts.truncated = True
                    self._decoded(b"", ended=True)
                break
        finally:
            self._pumping = False

    def _decoded(self, data: bytes, ended: bool) -> None:
        """Handle what the engine has decoded: answer the peer, and pass up data, the end or an error."""
        engine = self._engine
        assert engine is not None
        if engine.error is not None:
            self._fail(self.explained(engine.error))
        else:
            self._flush()
        if data:
            self.receiver.received(data)
        if ended and not self._deaf:
            self._deaf = True
            self.receiver.ended()

    def _flush(self) -> None:
        engine = self._engine
        if engine is not None and engine.output:
            self.below.write(engine.take_output())

    # the end

    def _notify(self) -> None:
        """Send close_notify."""
        if self._engine is not None and self.receiver is not None and not self._finished:
            self._finished = True
            self.below.write(self._engine.close_notify())

    def _stop(self) -> None:
        """Take no further data from the peer."""
        self._deaf = True
        self._queue.clear()

    def _fail(self, wrong: str) -> None:
        """End the connection because of the peer's bytes: send OpenSSL's alert, then close."""
        self.facts.error = ProtocolError(wrong)
        self._flush()
        self._finished = True
        self._stop()
        self._cancel()
        self.below.close()
