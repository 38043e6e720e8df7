"""TLS that misbehaves on purpose: the words of `faults.tls`. OpenSSL does what it can be made to do; the rest is bytes.

| Word | A client that has sent its ClientHello gets |
| --- | --- |
| `stall` | nothing, until the time limit of the handshake |
| `alert` | the fatal alert handshake_failure |
| `reset` | a reset |
| `plaintext` | a line of text, and the end of the connection |
| `old-version` | TLS 1.1 or 1.0 if it offers them; otherwise a ServerHello with TLS 1.0 |
| `no-renegotiation-info` | TLS 1.2, and a ServerHello without this extension (RFC 5746) |
| `grease` | a ServerHello with an extension that it did not offer (RFC 8701) |
| `tiny-records` | one byte in each record: of the handshake in clear text, and of the first TINY bytes of data |
| `no-close-notify` | a FIN without close_notify at the end |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from echod.faults.settings import TlsFault
from echod.tls import hello_messages as hello
from echod.tls.client_hello import OLD_SUITES, TLS10, TLS11, TLS12, client_hello
from echod.tls.server import ServerContexts
from echod.transports.layers.fault_injection import FaultInjected
from echod.transports.layers.layer_interface import Build, Facts
from echod.transports.layers.tls import TlsLayer
from echod.transports.layers.tls_record_queue import READ

TINY: Final = 4_096  #: bytes: more records of one byte would take the whole turn of the event loop
TEXT: Final = b"This is not TLS: echod misbehaves on purpose (faults.tls).\r\n"
HANDSHAKE_FAILURE: Final = 40  #: an alert (RFC 8446 6.2)

ChooseFault = Callable[[Facts, str | None], TlsFault | None]
"""The fault of a connection, given the name that the client asks for."""


class FaultyTls(TlsLayer):
    """One connection of a server. Without a fault it is TLS.

    `choose_fault` is called once, when the ClientHello arrives. `contexts` are those of the service. The other
    arguments are those of TlsLayer.
    """

    hands_engine = False

    __slots__ = ("_choose_fault", "_contexts", "_fault", "_tiny", "_unedited")

    def __init__(
        self,
        build: Build,
        clock: Any,
        seconds: float,
        contexts: ServerContexts,
        *,
        choose_fault: ChooseFault,
        **more: Any,
    ) -> None:
        super().__init__(build, clock, seconds, contexts.default, choose=contexts.context_for_hello, **more)
        self._contexts, self._choose_fault = contexts, choose_fault
        self._fault: TlsFault | None = None
        self._tiny = 0  # bytes of data to be sent one by one
        self._unedited = True  # the ServerHello is still to come

    # for the level above

    def write(self, data: bytes, text: bool | None = None) -> None:
        tiny = data[: self._tiny] if self._tiny else b""
        self._tiny -= len(tiny)
        self._work.spend(len(tiny))  # about a microsecond each
        for at in range(len(tiny)):
            super().write(tiny[at : at + 1])
        super().write(data[len(tiny) :])

    # the handshake

    def _begin_handshake(self) -> None:
        offered = client_hello(self._queue.first(READ))
        self._fault = self._choose_fault(self.facts, None if offered is None else offered.server_name)
        instead = {
            "stall": self._stall,
            "alert": self._send_alert,
            "reset": self._reset,
            "plaintext": self._send_text,
            "old-version": self._use_old_version,
        }.get(self._fault or "")
        if instead is not None:
            instead()
            return
        if self._fault == "no-renegotiation-info":
            self._choose = self._contexts.up_to(TLS12).context_for_hello
        elif self._fault == "tiny-records":
            self._tiny = TINY
        super()._begin_handshake()

    def _stall(self) -> None:
        self._handshakes.begin(self._evict)
        self._stop()

    def _reset(self) -> None:
        self.facts.error = FaultInjected()
        self.abort(self.facts.error)

    def _send_alert(self) -> None:
        self._send_and_close(hello.alert(HANDSHAKE_FAILURE))

    def _send_text(self) -> None:
        self._send_and_close(TEXT)

    def _use_old_version(self) -> None:
        offered = client_hello(self._queue.first(READ))
        if offered is not None and not offered.offers_old_versions:
            suite = next((one for one in OLD_SUITES if one in offered.suites), OLD_SUITES[-1])
            self._send_and_close(hello.server_hello(TLS10, suite))
        else:
            self._choose = self._contexts.up_to(TLS11).context_for_hello
            super()._begin_handshake()

    def _send_and_close(self, data: bytes) -> None:
        self.facts.error = FaultInjected()
        self.below.write(data)
        self._finished = True
        self._stop()
        self._cancel()
        self.below.close()

    # output

    def _flush(self) -> None:
        engine = self._engine
        if self._unedited and engine is not None and engine.output:
            self._unedited = False
            if self._fault == "tiny-records":
                engine.output, self._unedited = hello.in_single_bytes(engine.output)
            elif self._fault in ("grease", "no-renegotiation-info"):
                engine.output, self._unedited = hello.with_extensions(engine.output, self._changed_extensions)
        super()._flush()

    def _changed_extensions(self, before: Mapping[int, bytes]) -> Mapping[int, bytes]:
        if self._fault == "grease":
            return {**before, hello.GREASE: b""}
        return {number: value for number, value in before.items() if number != hello.RENEGOTIATION_INFO}

    def _notify(self) -> None:
        if self._fault == "no-close-notify":
            self._finished = True
        else:
            super()._notify()
