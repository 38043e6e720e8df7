"""The certificates that the daemon serves: their list, and events before they expire and when others are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.task import LoopingCall

from echod.config.settings import Configuration
from echod.tls.days_left import EXPIRING

if TYPE_CHECKING:
    from echod.tls.certificate_facts import CertificateFacts  # slow to import, and many daemons serve no TLS

EVERY: Final = 3600.0  #: seconds between two checks
AGAIN_AFTER: Final = 86_400.0  #: seconds between two warnings about one certificate


@dataclass(frozen=True)
class ServedCertificate:
    """A certificate of one service. `source` is its file, or the word of the configuration for one that is made."""

    service: str
    source: str
    facts: CertificateFacts
    on_purpose: bool = False  #: wrong on purpose: not watched


def served_by(configuration: Configuration) -> Iterator[ServedCertificate]:
    """The certificates of every service of a configuration."""
    for service in configuration.services:
        if service.tls is not None and service.tls.contexts is not None:
            for certificate in service.tls.contexts.certificates:
                on_purpose = bool(certificate.issuer)
                yield ServedCertificate(service.name, certificate.source, certificate.facts, on_purpose)


class CertificateWatch:
    """Reports certificates to `tell`, which delivers an event.

    `clock` has callLater; `wall_clock` returns seconds since 1970. The first call of `update` starts the checks.
    """

    def __init__(self, clock: Any, wall_clock: Callable[[], float], tell: Callable[..., None]) -> None:
        self._wall_clock = wall_clock
        self._tell = tell
        self._served: tuple[ServedCertificate, ...] | None = None
        self._warned: dict[str, float] = {}  # times of the last warnings, by fingerprint
        self._checks = LoopingCall(self.check)
        self._checks.clock = clock

    def update(self, served: Iterable[ServedCertificate]) -> None:
        """Watch these certificates from now on. Those that were not watched before are reported as loaded."""
        before, self._served = self._served, tuple(one for one in served if not one.on_purpose)
        known = {one.facts.fingerprint for one in before or ()}
        if before is not None:
            for facts, fields in self._grouped():
                if facts.fingerprint not in known:
                    self._tell("certificate.loaded", **fields)
        if not self._checks.running:
            self._checks.start(EVERY)
        else:
            self.check()

    def check(self) -> None:
        """Warn about each certificate that expires soon, unless that was done in the last AGAIN_AFTER seconds."""
        now = self._wall_clock()
        warned = {}
        for facts, fields in self._grouped():
            last = self._warned.get(facts.fingerprint)
            if facts.days_left(datetime.fromtimestamp(now, UTC)) >= EXPIRING:
                continue
            if last is None or not 0 <= now - last < AGAIN_AFTER:
                self._tell("certificate.expiring", **fields)
                last = now
            warned[facts.fingerprint] = last
        self._warned = warned

    def stop(self) -> None:
        """Stop the checks."""
        if self._checks.running:
            self._checks.stop()

    def _grouped(self) -> Iterator[tuple[CertificateFacts, dict[str, Any]]]:
        """Each certificate once, with the fields of its events. Several services may serve it."""
        by_fingerprint: dict[str, list[ServedCertificate]] = {}
        for one in self._served or ():
            by_fingerprint.setdefault(one.facts.fingerprint, []).append(one)
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        for same in by_fingerprint.values():
            facts = same[0].facts
            yield (
                facts,
                {
                    "services": ", ".join(dict.fromkeys(one.service for one in same)),
                    "source": same[0].source,
                    "subject": facts.subject,
                    "until": f"{facts.until:%Y-%m-%d %H:%M} UTC",
                    "days": max(0, facts.days_left(now)),
                },
            )


def described(one: ServedCertificate, now: datetime) -> dict[str, Any]:
    """A certificate as values of JSON, for the admin interface."""
    facts = one.facts
    return {
        "source": one.source,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "names": list(facts.names),
        "since": facts.since.isoformat(),
        "until": facts.until.isoformat(),
        "days_left": facts.days_left(now),
        "serial": facts.serial,
        "sha256": facts.fingerprint,
        "on_purpose": one.on_purpose,
    }
