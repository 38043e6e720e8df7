"""Automatic answers to the challenges of services that have members over datagrams."""

from __future__ import annotations

from typing import Final

from echod.gate.address_cookies import answer_to, is_challenge

PADDED: Final = 64  #: bytes of an answer: enough credit for later challenges if some datagrams are lost


def padded_answer(datagram: bytes) -> bytes | None:
    """The answer to a challenge, or None if the datagram is not a challenge. The service ignores trailing spaces."""
    return answer_to(datagram).ljust(PADDED) if is_challenge(datagram) else None
