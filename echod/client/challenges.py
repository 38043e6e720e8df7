"""Answers to the challenges of a service with datagram members, given without asking the person who types."""

from __future__ import annotations

from typing import Final

from echod.gate.address_cookies import answer_to, is_challenge

PADDED: Final = 64  #: bytes of an answer: it pays for the challenges that follow, should some of them be lost


def padded_answer(datagram: bytes) -> bytes | None:
    """The answer to send if a datagram is a challenge; otherwise None. Spaces at its end do not matter."""
    return answer_to(datagram).ljust(PADDED) if is_challenge(datagram) else None
