"""The shapes of a transport: stream, message, datagram, and request with response.

Code that treats transports differently checks the shape, never the scheme.
"""

from __future__ import annotations

from enum import Enum


class Shape(Enum):
    """Whether a transport has connections, and whether it keeps the boundaries of messages."""

    STREAM = "stream"  #: a connection that carries bytes without boundaries; either side can finish sending
    MESSAGE = "message"  #: a connection that carries whole messages, in order
    DATAGRAM = "datagram"  #: single messages without a connection
    REQUEST = "request"  #: a connection that carries requests of HTTP and their responses

    @property
    def has_connections(self) -> bool:
        """Whether a listener accepts connections, rather than receives datagrams."""
        return self is not Shape.DATAGRAM

    @property
    def keeps_messages(self) -> bool:
        """Whether data that is received at once is one whole message, rather than a part of a stream."""
        return self in (Shape.MESSAGE, Shape.DATAGRAM)
