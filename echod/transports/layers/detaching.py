"""A connection that leaves its stack, because the fast path carries it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Detached:
    """Its socket, and the bytes that are on their way."""

    socket: socket.socket
    received: bytes = b""  #: bytes that no level has handled
    unsent: bytes = b""  #: bytes for the peer that the kernel has not accepted
    engine: Any = None  #: of the connection's TLS (`layers.tls_engine`)


def hands_engine(layers: Sequence[Any]) -> bool:
    """Whether the highest layer of a stack leaves it with an engine, which does the layer's work.

    `layers` are the builders of a stack's layers: classes, or a `partial` of them.
    """
    return bool(layers) and bool(getattr(getattr(layers[-1], "func", layers[-1]), "hands_engine", False))
