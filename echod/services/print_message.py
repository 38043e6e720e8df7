"""Prints the messages of a service: one escaped line for each message, of bounded length."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from typing import Final, Literal

from echod.model import Context, Peer
from echod.text import decoded, escaped

Show = Literal["no", "text", "hex"]

SHOWN: Final = 1024
"""Maximum bytes of a message that are printed; the rest is only counted. A datagram has up to 65,507 bytes."""


def effective(how: Show | None, context: Context) -> Show:
    """The effective value of `show`. None, the default of `ack` and `discard`, is text on a terminal, otherwise no.

    In a log the lines would be stored, and clients could make it grow at any rate.
    """
    return how or ("text" if context.terminal else "no")


def show(data: bytes, peer: Peer, how: Show, context: Context) -> None:
    """Print one message and its peer as output of the service.

    If lines are dropped at the moment, the line is empty: escaping 1,024 bytes costs as much as ten replies.
    """
    if how != "no":
        context.show(f"{peer.scheme} {peer.remote}: {line(data, how)}" if context.shows() else "")


def line(data: bytes, how: Show) -> str:
    """A message as one line: as `hex`, or as `text` without its final line end."""
    part = data[:SHOWN]
    if how == "hex":
        shown = part.hex(" ")
    elif len(part) == len(data):
        shown = decoded(re.sub(rb"\r?\n\Z", b"", part))
    else:  # an incomplete last character is left out
        shown = escaped(getincrementaldecoder("utf-8")("surrogateescape").decode(part))
    return shown if len(part) == len(data) else f"{shown}… ({len(data)} bytes)"
