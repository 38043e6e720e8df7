"""How a service shows what came: one line for each message, never more than a terminal or a log can bear."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from typing import Final, Literal

from echod.model import Context, Peer
from echod.text import decoded, escaped

Show = Literal["no", "text", "hex"]

SHOWN: Final = 1024
"""Bytes of one message that are shown; the rest is only counted. A datagram has up to 65,507 of them."""


def effective(how: Show | None, context: Context) -> Show:
    """How a service shows messages; None, which is `ack`'s and `discard`'s default, is text on a terminal alone.

    Anywhere else lines are kept, and a client would choose how fast a log grows.
    """
    return how or ("text" if context.terminal else "no")


def show(data: bytes, peer: Peer, how: Show, context: Context) -> None:
    """Show one message and who sent it as the service's output.

    Where the line would only be counted it has no text: to escape 1,024 bytes costs as much as to answer ten.
    """
    if how != "no":
        context.show(f"{peer.scheme} {peer.remote}: {line(data, how)}" if context.shows() else "")


def line(data: bytes, how: Show) -> str:
    """A message as one line: `text` without the line end behind it, or `hex`."""
    part = data[:SHOWN]
    if how == "hex":
        said = part.hex(" ")
    elif len(part) == len(data):
        said = decoded(re.sub(rb"\r?\n\Z", b"", part))
    else:  # a character whose end is missing is left out
        said = escaped(getincrementaldecoder("utf-8")("surrogateescape").decode(part))
    return said if len(part) == len(data) else f"{said}… ({len(data)} bytes)"
