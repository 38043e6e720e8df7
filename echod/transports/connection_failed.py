"""Lost connections with the error of the system; Twisted's ConnectionLost has only a text."""

from __future__ import annotations

import os
import socket

from twisted.internet.error import ConnectionLost


class ConnectionFailed(ConnectionLost):
    """A connection was lost by an error of the system; `osError` is its number, as in Twisted's ConnectError."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.osError = error.errno


def after_hang_up(opened: socket.socket) -> ConnectionLost:
    """Why an open socket has hung up: its pending error (SO_ERROR in socket(7)), or that the peer closed it."""
    number = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return ConnectionFailed(OSError(number, os.strerror(number))) if number else ConnectionLost()
