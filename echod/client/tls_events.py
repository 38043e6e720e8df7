"""The events of a TLS handshake as lines, for `echoctl talk -v`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime

from echod.escaping import clipped, counted
from echod.tls.certificate_facts import CertificateFacts, facts_of_der
from echod.tls.transcript import Transcript
from echod.tls.verification import Expectations, server_name


class Events:
    """Prints each event of the connections of one command by `say`, as one line of escaped text."""

    def __init__(self, expected: Expectations, say: Callable[[str], None]) -> None:
        self._expected = expected
        self._say = say

    def connected(self, remote: str) -> None:
        """Print that the connection below TLS is made."""
        self._say(f"connected to {remote}")

    def tell(self, event: str, transcript: Transcript) -> None:
        """Print an event of a transcript."""
        expected = self._expected
        if event == "ClientHello sent":
            name = server_name(expected.host)
            sni = f"server name {name}" if name else "no server name"
            self._say(f"{event}: {sni}, {_protocols(*expected.alpn)}")
        elif event == "Certificate received":
            self._say(f"{event}: {counted(len(transcript.presented), 'certificate', 'certificates')}")
            for der in transcript.presented:
                try:
                    self._say(f"  {described(facts_of_der(der), datetime.now(UTC))}")
                except ValueError as error:
                    self._say(f"  malformed certificate: {clipped(str(error))}")
        else:
            self._say(event)

    def complete(self, tls: ssl.SSLObject) -> None:
        """Print what was agreed in the handshake."""
        name, *_ = tls.cipher() or ("no cipher",)
        version = (tls.version() or "").replace("TLSv", "TLS ")
        resumed = ", resumed" if tls.session_reused else ""
        chosen = tls.selected_alpn_protocol()
        self._say(f"handshake complete: {version}, {name}, {_protocols(*([chosen] if chosen else []))}{resumed}")

    def verified(self) -> None:
        """Print the result of the verification."""
        expected = self._expected
        if not expected.verified:
            self._say("certificate not verified (--insecure)")
        else:
            by = clipped(expected.ca) if expected.ca else "the authorities of the system"
            self._say(f"certificate verified: trusted by {by}, for the name {clipped(expected.host)}")


def described(facts: CertificateFacts, now: datetime) -> str:
    """A certificate in one line."""
    days = facts.days_left(now)
    left = "expired" if days < 0 else f"{counted(days, 'day', 'days')} left"
    names = f"for {facts.listed}" if facts.names else "no names"
    return (
        f"{facts.subject or 'empty subject'}; {names}; issued by {facts.issuer or 'an empty name'};"
        f" valid until {facts.until:%Y-%m-%d %H:%M} UTC ({left})"
    )


def _protocols(*names: str) -> str:
    return f"ALPN {clipped(', '.join(names))}" if names else "no ALPN"
