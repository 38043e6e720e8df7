"""How a service shows what came: one line for each message, never more than a terminal or a log can bear."""

from __future__ import annotations

import re
from typing import Final, Literal

from echod.model import Context, Peer
from echod.text import decoded

Show = Literal["no", "text", "hex"]

SHOWN: Final = 1024
"""Octets of one message that are shown; the rest is only counted. A datagram has up to 65,507 of them."""


def show(data: bytes, peer: Peer, how: Show, context: Context) -> None:
    """Show one message and who sent it as the service's output."""
    if how != "no":
        context.show(f"{peer.scheme} {peer.remote}: {line(data, how)}")


def line(data: bytes, how: Show) -> str:
    """A message as one line: `text` without the line end behind it, or `hex`."""
    part = data[:SHOWN]
    if how == "hex":
        said = part.hex(" ")
    else:
        said = decoded(re.sub(rb"\r?\n\Z", b"", part) if len(part) == len(data) else part)
    return said if len(part) == len(data) else f"{said}… ({len(data)} octets)"
