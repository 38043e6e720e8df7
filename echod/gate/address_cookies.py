"""Address cookies: how a datagram's sender proves that it receives what is sent to its address.

A source address can be forged. The daemon sends a challenge, and only a peer that reads it can answer:

    bkdfmp<>480213        the challenge: six letters, six digits
    480213 bkdfmp         the answer: the two halves exchanged

The answer begins with a digit and the challenge with a letter, so no text that starts with text of echod is an answer.
An echo service therefore cannot answer. Neither can a service that changes case, replaces letters (rot13), reverses,
cuts, or adds text: the answer has another order and is shorter. A person with `nc -u` can type it.

A challenge has 14 bytes, so that the shortest first datagram that can be answered is short. A person's answer with
its line end has 14 as well: it pays for the next challenge.

Entropy: 20 letters and 10 digits in six places each are 6.4e13 values, 45.9 bits. A sender that guesses blindly a
million times a second for the minute that a cookie is valid, with two valid cookies, succeeds once in 500,000 tries.

The daemon stores nothing for a peer that has not joined. The cookie is a keyed hash of its address and the time slot
(DTLS cookies, RFC 9147 section 5.1; QUIC tokens, RFC 9000 section 8.1.3). It can be replayed while it is valid.
Therefore a member renews its consent by `fresh_challenge`, which is random and used once (RFC 9000 section 8.2).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final

LETTERS: Final = "bcdfghjkmnpqrstvwxyz"  #: consonants: no word arises; no `l`, which looks like a 1
HALF: Final = 6  #: letters, and digits
LENGTH: Final = 2 * HALF + 2  #: bytes of a challenge
COMPARED: Final = 512  #: bytes of a datagram in which a returned challenge is looked for
SLOT: Final = 30.0  #: seconds; a cookie is valid for one to two of them: time to read it and to type the answer

_VALUES: Final = len(LETTERS) ** HALF * 10**HALF
_CHALLENGE: Final = re.compile(rb"([%s]{%d})<>([0-9]{%d})" % (LETTERS.encode(), HALF, HALF))
_ANSWER: Final = re.compile(rb"\s*[0-9]{%d} [%s]{%d}\s*" % (HALF, LETTERS.encode(), HALF))


def is_challenge(datagram: bytes) -> bool:
    """Whether a datagram is a challenge."""
    return _CHALLENGE.fullmatch(datagram) is not None


def answer_to(challenge: bytes) -> bytes:
    """The answer to a challenge. Raises ValueError if it is not one."""
    halves = _CHALLENGE.fullmatch(challenge)
    if halves is None:
        raise ValueError(f"{challenge[:40]!r} is not a challenge")
    return halves[2] + b" " + halves[1]


def looks_like_an_answer(datagram: bytes) -> bool:
    """Whether a datagram has the form of an answer, to this or to another challenge."""
    return _ANSWER.fullmatch(datagram) is not None


def answers(challenge: bytes, datagram: bytes) -> bool:
    """Whether a datagram is the answer to this challenge; white space around it does not matter."""
    return hmac.compare_digest(answer_to(challenge), datagram.strip())


def fresh_challenge() -> bytes:
    """An unpredictable challenge, to be used once."""
    return _written(secrets.randbelow(_VALUES))


class AddressCookies:
    """Challenges that need no memory of the peer.

    `clock` counts seconds and never steps back. Processes that share an address share `secret`, 32 random bytes; by
    default each instance has its own.
    """

    def __init__(self, clock: Callable[[], float], secret: bytes | None = None) -> None:
        self._clock = clock
        self._secret = secret or secrets.token_bytes(32)

    def challenge(self, address: bytes) -> bytes:
        """The challenge for a sender; `address` distinguishes it from every other."""
        return self._made(address, self._slot())

    def answered(self, address: bytes, datagram: bytes) -> bool:
        """Whether a datagram answers a challenge of this sender that is still valid."""
        if not looks_like_an_answer(datagram):
            return False
        slot = self._slot()
        return any(answers(self._made(address, one), datagram) for one in (slot, slot - 1))

    def returned(self, address: bytes, datagram: bytes) -> bool:
        """Whether a datagram contains a challenge of this sender, in either case: an echo service returned it."""
        text, slot = datagram[:COMPARED].lower(), self._slot()
        return b"<>" in text and any(self._made(address, one) in text for one in (slot, slot - 1))

    def _slot(self) -> int:
        return int(self._clock() // SLOT)

    def _made(self, address: bytes, slot: int) -> bytes:
        digest = hmac.digest(self._secret, slot.to_bytes(8, "big", signed=True) + address, "sha256")
        return _written(int.from_bytes(digest[:16], "big") % _VALUES)


def _written(value: int) -> bytes:
    value, digits = divmod(value, 10**HALF)
    letters = ""
    for _ in range(HALF):
        value, letter = divmod(value, len(LETTERS))
        letters += LETTERS[letter]
    return f"{letters}<>{digits:0{HALF}}".encode()
