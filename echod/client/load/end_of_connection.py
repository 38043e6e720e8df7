"""Why a connection of a load has ended: the cause to count, and the description to print."""

from __future__ import annotations

import errno
import os

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from echod.client.load.counts import CLOSED, HANDSHAKE, TIMED_OUT, TOO_LARGE, cause_of
from echod.escaping import escaped, system_error
from echod.transports.layers.layer_interface import HandshakeTimeout, MessageTooLarge


def explained(reason: Exception) -> tuple[str, str]:
    """The cause of the end of a connection, and its description. `osError` of the reason is an errno."""
    if isinstance(reason, HandshakeTimeout):
        return TIMED_OUT, f"{reason} (ETIMEDOUT)"
    if isinstance(reason, MessageTooLarge):
        return TOO_LARGE, "the message is larger than the transport allows"
    number = getattr(reason, "osError", None) or (errno.ECONNABORTED if isinstance(reason, ConnectionAborted) else 0)
    if number:
        error = OSError(number, os.strerror(number))
        return cause_of(error), system_error(error)
    if isinstance(reason, ConnectionDone | ConnectionLost):
        return CLOSED, "the peer closed the connection"
    return HANDSHAKE, escaped(str(reason))
