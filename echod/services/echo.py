"""Echo (RFC 862): every byte comes back, in order, and every datagram."""

from __future__ import annotations

from echod.model import Service, identity


class Echo(Service):
    """The answer ends when the peer has finished sending and everything is back."""

    kind = "echo"
    summary = "sends everything back unchanged (RFC 862)"
    transform = staticmethod(identity)
