"""Consent of one datagram member to receive: proved by an answer, renewed, and lost if it is not renewed.

The rules follow RFC 7675, which stops media that a peer no longer wants:

* an answer to a challenge is consent for VALID seconds (section 5.1);
* a member is challenged again RENEW_AFTER seconds after its last answer, and every RETRY seconds until it answers;
* each challenge is random, expires after VALID seconds and is valid once, so a recorded answer is useless;
* challenges never have more bytes than the member sent.

Joining is not consent: the cookie that joins can be replayed by a forged datagram for a minute.
Pure: times are seconds on one clock that never steps back.
"""

from __future__ import annotations

from typing import Final

from echod.gate.address_cookies import LENGTH, answers, fresh_challenge

VALID: Final = 30.0  #: seconds that an answer counts: RFC 7675 section 5.1
RENEW_AFTER: Final = 10.0  #: seconds: leaves four tries within VALID, as datagrams may be lost
RETRY: Final = 5.0  #: seconds: the interval of RFC 7675
RETRY_WHEN_LOST: Final = 1.0  #: seconds; it is then sent only in reply to a datagram that is at least as long
CREDIT: Final = 1024  #: bytes of a member's datagrams that count for later challenges: 73 challenges


class Consent:
    """The consent of one member."""

    __slots__ = ("_challenge", "_challenged", "_credit", "_made", "until")

    def __init__(self) -> None:
        self.until = float("-inf")  #: when it ends
        self._challenge: bytes | None = None
        self._made = float("-inf")  # when the outstanding challenge was made …
        self._challenged = float("-inf")  # … and when one was sent last
        self._credit = 0

    def valid(self, now: float) -> bool:
        """Whether the member may receive more than it sends."""
        return now < self.until

    def resume(self, until: float) -> None:
        """Continue with the consent that the same address has given to a process that has ended."""
        self.until = until

    def received(self, size: int) -> None:
        """The member sent a datagram of `size` bytes, which may be forged."""
        self._credit = min(self._credit + size, CREDIT)

    def answered(self, datagram: bytes, now: float) -> bool:
        """Whether a datagram answers the outstanding challenge. If so, consent is valid from now on."""
        challenge = self._challenge
        if challenge is None or now - self._made >= VALID or not answers(challenge, datagram):
            return False
        self._challenge = None
        self.until = now + VALID
        return True

    def challenge(self, now: float) -> bytes | None:
        """The challenge to send now; None if none is due or the member has sent too few bytes.

        While consent is lost, the caller sends it only in reply to a datagram that is at least as long.
        """
        if now - self._challenged < (RETRY if self.valid(now) else RETRY_WHEN_LOST) or self._credit < LENGTH:
            return None
        self._credit -= LENGTH
        self._challenged = now
        if self._challenge is None or now - self._made >= VALID:
            self._challenge, self._made = fresh_challenge(), now
        return self._challenge
