"""Lines out of a stream: any piece in, whole lines out, and none of them without bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

LONGEST: Final = 4096  #: octets of one line without its end: what a terminal takes in one (termios(3), canonical mode)


class Lines:
    """Cuts what comes at LF or CR LF. A line above LONGEST comes as None, once, and its octets are not kept."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = False

    def take(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that these octets complete."""
        *complete, rest = data.split(b"\n")
        for part in complete:
            if not self._line and not self._skipping and len(part) <= LONGEST:  # most are: it came as a whole
                yield part.removesuffix(b"\r")
                continue
            yield from self._add(part)
            if not self._skipping:
                yield bytes(self._line).removesuffix(b"\r")
            self._line.clear()
            self._skipping = False
        yield from self._add(rest)

    def last(self) -> bytes:
        """What came behind the last line end: at the end of a stream or of a datagram it is a line, too."""
        line = bytes(self._line).removesuffix(b"\r")
        self._line.clear()
        self._skipping = False
        return line

    def _add(self, part: bytes) -> Iterator[None]:
        if self._skipping:
            return
        if len(self._line) + len(part) > LONGEST + 1 or len((self._line + part).removesuffix(b"\r")) > LONGEST:
            self._skipping = True
            self._line.clear()
            yield None
        else:
            self._line += part
