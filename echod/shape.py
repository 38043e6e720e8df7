"""The three shapes of a transport: what it keeps of the way in which data was sent.

Code that treats transports differently asks for the shape, never for a scheme.
"""

from __future__ import annotations

from enum import Enum


class Shape(Enum):
    """What a transport keeps of the shape of what was sent."""

    STREAM = "stream"  #: a connection that carries bytes without boundaries; either side can end sending
    MESSAGE = "message"  #: a connection that carries whole messages, in order
    DATAGRAM = "datagram"  #: single messages without a connection

    @property
    def has_connections(self) -> bool:
        """Whether a listener accepts connections, rather than receives datagrams."""
        return self is not Shape.DATAGRAM

    @property
    def keeps_messages(self) -> bool:
        """Whether data that is received at once is one whole message, rather than a part of a stream."""
        return self is not Shape.STREAM
