"""Quote of the day (RFC 865): sends one quotation and closes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from echod.escaping import system_error
from echod.model import Context, Peer, Say, Service, Session
from echod.services.single_reply import Once
from echod.small_files import Unsuitable, not_utf8, read_whole

LARGEST: Final = 512  #: bytes of a quotation (RFC 865)

BUILT_IN: Final = (
    "Be conservative in what you do, be liberal in what you accept from others.\n  - Jon Postel, RFC 793",
    "With sufficient thrust, pigs fly just fine. However, this is not necessarily a good idea.\n"
    "  - Ross Callon, RFC 1925",
    "It is always possible to add another level of indirection.\n  - Ross Callon, RFC 1925",
    "It is easier to move a problem around than it is to solve it.\n  - Ross Callon, RFC 1925",
    "No matter how hard you push and no matter what the priority, you can't increase the speed of light.\n"
    "  - Ross Callon, RFC 1925",
)
"""The quotations of a service without a file."""


@dataclass(frozen=True)
class QotdOptions:
    """The keys of a qotd service."""

    quotes: Path | None = field(
        default=None,
        metadata={"help": "a file of quotations, at most 512 bytes each; a line with a single % separates them"},
    )


class WrongQuotes(ValueError):
    """A file of quotations cannot be used; the message gives the reason and the line."""


def quotations(text: str) -> list[bytes]:
    """The quotations of a file in the format of fortune(6), with CR LF at the end of every line.

    Raises WrongQuotes.
    """
    found = []
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), "%"], start=1):
        if line != "%":
            lines.append(line.rstrip())
            continue
        quote = "".join(f"{line}\r\n" for line in "\n".join(lines).strip("\n").split("\n")).encode()
        if len(quote) > LARGEST:
            size = f"has {len(quote)} bytes, including CR LF after each line"
            raise WrongQuotes(f"the quotation at line {number - len(lines)} {size}; the maximum is {LARGEST} (RFC 865)")
        if quote.strip():
            found.append(quote)
        lines.clear()
    if not found:
        raise WrongQuotes("has no quotations; expected quotations, separated by lines with a single %")
    return found


def read(file: Path) -> list[bytes]:
    """The quotations of a file. Raises WrongQuotes."""
    try:
        text = read_whole(file).decode("utf-8")
    except OSError as error:
        raise WrongQuotes(system_error(error)) from None
    except UnicodeDecodeError as error:
        line, reason = not_utf8(error)
        raise WrongQuotes(f"line {line}: {reason}") from None
    except Unsuitable as error:
        raise WrongQuotes(str(error)) from None
    return quotations(text.replace("\r\n", "\n").replace("\r", "\n"))


class Qotd(Service):
    """Sends a random quotation and closes."""

    kind = "qotd"
    summary = "sends a quotation (RFC 865)"
    Options = QotdOptions

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        file = self.options.quotes
        self._quotes = quotations("\n%\n".join(BUILT_IN)) if file is None else read(file)

    @classmethod
    def configuration_errors(cls, options: Any) -> Iterable[tuple[str, str]]:
        """The error if the file of quotations cannot be used."""
        if options.quotes is not None:
            try:
                read(options.quotes)
            except WrongQuotes as wrong:
                yield "quotes", f"{options.quotes}: {wrong}"

    def session(self, peer: Peer, say: Say) -> Session:
        return Once(self._quote())

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        return self._quote()

    def _quote(self) -> bytes:
        return self.context.random.choice(self._quotes)
