"""Echo (RFC 862): sends every byte of a stream back in order, and every datagram."""

from __future__ import annotations

from echod.model import Service, identity


class Echo(Service):
    """The reply of a stream ends after the peer's half-close, when everything has been sent back."""

    kind = "echo"
    summary = "sends everything back unchanged (RFC 862)"
    transform = staticmethod(identity)
