"""Certificates of peers as a target: a Certificate message of a TLS handshake, before anything has checked it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from echod.client.tls_events import described
from echod.tls.certificate_facts import facts_of_der
from echod.tls.transcript import certificates_in
from echod.tls.verification import verify_name
from tests.fuzz.draw import Draw
from tests.fuzz.target import Target, assert_plain

NOW: Final = datetime(2027, 1, 1, tzinfo=UTC)
HOSTS: Final = ("echo.example", "192.0.2.7", "2001:db8::7", "bücher.example")


def _certificates(data: bytes) -> bool:
    draw = Draw(data)
    has_context, host = bool(draw.byte() % 2), draw.choice(HOSTS)
    message = draw.rest()
    accepted = False
    for der in certificates_in(message, has_context=has_context):
        assert der in message
        if (wrong := verify_name(der, host)) is not None:
            assert_plain(wrong)
        try:
            facts = facts_of_der(der)
        except ValueError:
            assert wrong is not None
            continue
        accepted = True
        assert_plain(described(facts, NOW))
        for text in (facts.subject, facts.issuer, *facts.names, *facts.purposes):
            assert text.isprintable()
    return accepted


_TOKENS: Final = (
    *(b"\x0b\0\1\x90", b"\0\0\1", b"\0", b"\x30\x82\1\x85", b"\x02\1\2", b"\xa3", b"\x06\3\x55\x1d\x11", b"\x04\x82"),
    *(b"\x82\x0cecho.example", b"\x87\4\xc0\0\2\x07", b"\x17\x0d261101000000Z", b"\x0c\x04\x1b[2J", b"\x16\1*"),
)

TARGETS: Final = (Target("certificates", "facts that are safe to print, or one line", lambda: _certificates, _TOKENS),)
