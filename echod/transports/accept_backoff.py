"""The pauses of a listener after errors of accept(2), and a spare descriptor to refuse clients when no other is free.

The plain path and the fast path use it.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from time import monotonic
from typing import Final

PAUSE: Final = 0.1  #: seconds after the first error in a row
LONGEST_PAUSE: Final = 1.0
CHECK_SPARE: Final = 0.5  #: seconds between two checks of the spare descriptor, which cost a system call
REPORTED_EVERY: Final = 60.0
"""Seconds between two log lines about pauses. Otherwise a client that opens and closes connections while descriptors
are short could fill the log."""
PASSING: Final = frozenset({errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.EPERM})
"""Errors of one connection, not of the listener (accept(2)): after the first, accept is retried immediately."""
NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})


class SpareDescriptor:
    """A spare descriptor. It is closed to accept and refuse a client when no other descriptor is free."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._file: os.stat_result

    def keep(self) -> bool:
        """Open the spare descriptor if it is not open. Returns False if none is free."""
        if self._descriptor is not None and not self._is_there(self._descriptor):  # other code closed it,
            self._descriptor = None  # and the number may belong to a client
        if self._descriptor is None:
            try:
                self._descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
                self._file = os.fstat(self._descriptor)
            except OSError:
                return False
        return True

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._file)
        except OSError:
            return False

    def give_up(self) -> None:
        """Close the descriptor, so that one accept can succeed. Call `keep` immediately after."""
        if self.keep() and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class AcceptBackoff:
    """Errors of accept: pauses that grow, with a log line when they begin and one when they end.

    A pause within REPORTED_EVERY seconds of the last log line is not logged. The next line includes the clients that it
    refused. `clock` returns monotonic seconds.
    """

    def __init__(
        self, label: str, reserve: SpareDescriptor, tell: Callable[..., None], clock: Callable[[], float] = monotonic
    ) -> None:
        self._label = label
        self._reserve = reserve
        self._tell = tell
        self._clock = clock
        self._in_a_row = 0  # consecutive failures
        self._check_at = -math.inf  # when the spare descriptor is checked again
        self._pause = 0.0
        self._refused = 0
        self._reported = False  # the pause was logged, and its end was not
        self._silent_until = -math.inf

    def pause_after(self, error: OSError, shed: Callable[[], int]) -> float:
        """Seconds to pause the listener after `error`; 0 is to continue.

        `shed` refuses waiting clients while a descriptor is free, and returns how many it refused.
        """
        self._in_a_row += 1
        if error.errno in PASSING and self._in_a_row == 1:
            return 0.0
        if error.errno in NO_DESCRIPTOR:
            self._reserve.give_up()
            self._refused += shed()
            self._reserve.keep()
        if not self._reported and (now := self._clock()) >= self._silent_until:
            self._reported, self._silent_until = True, now + REPORTED_EVERY
            name = errno.errorcode.get(error.errno or 0, str(error.errno))
            self._tell("accept.paused", address=self._label, error=name)
        self._pause = min(max(PAUSE, self._pause * 2), LONGEST_PAUSE)
        return self._pause

    def succeeded(self) -> None:
        """Reset the pauses, and log their end, because a connection was accepted."""
        now = self._clock()
        if now < self._check_at and not self._in_a_row:
            return
        self._in_a_row, self._pause, self._check_at = 0, 0.0, now + CHECK_SPARE
        if self._reported:
            self._tell("accept.resumed", address=self._label, refused=self._refused)
            self._reported, self._refused = False, 0
        self._reserve.keep()
