"""TLS as a layer: an SSLObject of the standard library between two memory BIOs, for a server or a client.

Its rules, with their reasons in OpenSSL:

* A server makes no SSLObject before the first bytes of a plausible ClientHello. A silent client costs little, and
  OpenSSL sends no alert to a client that does not speak TLS.
* At most READ bytes (`tls_records`) are put into the incoming BIO at once, because a BIO never gives memory back.
* Many small records in one read cost units of the work budget, and may have to wait.
* `unwrap` writes close_notify and then reads. It is called with an empty incoming BIO: it would drop unread data.
* `write_eof` is never called: it would end writing as well.
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
from echod.tls.server import names_may_be_wrong
from echod.transports.layers.layer_interface import (
    LINGER,
    Build,
    HandshakeLayer,
    HandshakeTimeout,
    ProtocolError,
    StreamTransport,
)
from echod.transports.layers.tls_records import RECORD, RecordCost, Records, is_not_a_hello

MOST: Final = 65_536  #: bytes of plaintext that are passed up at once
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
    more of them in a turn than `work` permits.
    """

    __slots__ = (
        "_context", "_cost", "_deaf", "_finished", "_handshakes", "_held", "_incoming", "_outgoing", "_peer_fin",
        "_pumping", "_since", "_throttled", "_tls", "_verify", "_waits", "_work", "server_hostname",
    )  # fmt: skip

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
    ) -> None:
        super().__init__(build, clock, seconds)
        self.server_hostname = server_hostname
        self._context, self._verify = context, verify
        self._handshakes, self._work = handshakes, work
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO
        self._held = Records()  # received, and not in the incoming BIO yet
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
        super().begin(below)
        if self._context.protocol is ssl.PROTOCOL_TLS_CLIENT:
            self._begin_handshake()

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        if self._deaf:
            return
        if self._tls is not None and self._held.is_whole(data):
            self._incoming.write(data)
        else:
            self._held.add(data)
        if self._tls is None:
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
        if self._tls is None:
            return 0
        below = int(self.below.unsent) + self._outgoing.pending
        return below and max(1, min(below, self._since))

    def write(self, data: bytes, text: bool | None = None) -> None:
        tls = self._tls
        if self._finished or not data or tls is None:
            return
        if not self.below.unsent and not self._outgoing.pending:
            self._since = 0
        self._since += len(data)
        if len(data) <= RECORD:
            tls.write(data)
        else:
            view = memoryview(data)
            for at in range(0, len(data), RECORD):
                tls.write(view[at : at + RECORD])
                self._flush()
        if not self._pumping or self._outgoing.pending > RECORD:
            self._flush()

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

    # the handshake

    def _greet(self) -> None:
        """Start the handshake of a server if the first bytes may be a ClientHello; otherwise refuse the client."""
        first = self._held.first(6)
        if is_not_a_hello(first):
            self.below.write(NOT_TLS)
            self._fail(not_a_hello(self._held.first(64)))
        elif len(first) == 6 and not self._waits:
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
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=self.server_hostname
        )
        self._feed()
        if self._shake():
            self._pump()

    def _shake(self) -> bool:
        """Continue the handshake. Returns whether it is complete, and the level above has begun."""
        tls = self._tls
        assert tls is not None
        while True:
            try:
                with names_may_be_wrong():
                    tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if not self._feed():
                    self._flush()
                    return False
            except ssl.SSLError as error:
                self._fail(self.explained(error))
                return False
        self._handshakes.end(self._evict)
        self._flush()
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
        self.abort(HandshakeTimeout("the handshake was ended: too many others had begun after it"))

    # records

    def _feed(self) -> bool:
        """Put held data into the incoming BIO. Returns whether there was any."""
        return self._incoming.write(self._held.take()) > 0

    def _feed_if_permitted(self) -> bool:
        """As `_feed`, after the handshake and within the work budget."""
        if self._throttled or not self._held:
            return False
        if not self._cost.permits_more():
            self._throttled = True
            self.below.pause()
            self._work.wait(self._proceed, share_of(self.facts.remote, self.facts.user))
            return False
        fed = self._feed()
        self._cost.count(self._held.begun)
        return fed

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
        if self._pumping or self._throttled or self.receiver is None:
            return
        self._pumping = True
        incoming = self._incoming
        try:
            while (incoming.pending or self._held or self._peer_fin) and not self._paused and not self._deaf:
                data, ended = self._decoded()
                if data:
                    self.receiver.received(data)
                if ended and not self._deaf:
                    self._deaf = True
                    self.receiver.ended()
                if not data:
                    break
        finally:
            self._pumping = False
        self._flush()

    def _decoded(self) -> tuple[bytes, bool]:
        """The plaintext of complete records, up to MOST bytes and the last record, and whether the peer has ended."""
        tls, incoming = self._tls, self._incoming
        assert tls is not None
        pieces: list[bytes] = []
        size, ended = 0, False
        while size < MOST and not ended and (incoming.pending or self._feed_if_permitted()):
            try:
                piece = tls.read(RECORD)
                self._cost.count_data()
            except ssl.SSLWantReadError:  # the record is incomplete, and all of it is taken from the BIO
                continue
            except ssl.SSLZeroReturnError:  # close_notify, after ours
                piece = b""
            except ssl.SSLError as error:
                self._fail(self.explained(error))
                break
            ended = not piece
            size += len(piece)
            pieces.append(piece)
        if self._peer_fin and not (ended or self._deaf or self._throttled) and size < MOST:
            self.facts.truncated = ended = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), ended

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.below.write(self._outgoing.read())

    # the end

    def _notify(self) -> None:
        """Send close_notify."""
        if self._tls is not None and self.receiver is not None and not self._finished:
            self._finished = True
            unread = self._incoming.read()
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # close_notify is written, and the peer's has not arrived
            self._incoming.write(unread)
            self._flush()

    def _stop(self) -> None:
        """Take no further data from the peer."""
        self._deaf = True
        self._held.clear()

    def _fail(self, wrong: str) -> None:
        """End the connection because of the peer's bytes: send OpenSSL's alert, then close."""
        self.facts.error = ProtocolError(wrong)
        if self._tls is not None:
            self._flush()
        self._finished = True
        self._stop()
        self._cancel()
        self.below.close()
