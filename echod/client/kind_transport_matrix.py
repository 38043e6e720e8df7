"""`echoctl services --matrix`: over which addresses each kind is served, with and without PROXY headers, and why not.

The cells come from the rules of the configuration (`config.carriage`). docs/SERVICES.md shows the same lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from echod.config.kind_transports import matrix
from echod.model import Service

PROXIED = "?proxy"
SERVED = "yes"
GAP = 2  # columns between cells


def cells(kinds: Mapping[str, type[Service]]) -> dict[str, dict[str, str]]:
    """For each kind, each kind of address, and why the kind is refused there; "" if it is served."""
    return {name: matrix(kind) for name, kind in kinds.items()}


def lines(kinds: Mapping[str, type[Service]]) -> Iterator[str]:
    """The two tables and the numbered reasons, as lines for a terminal."""
    found = cells(kinds)
    plain = [name for name in next(iter(found.values())) if not name.endswith(PROXIED)]
    order = (row[name + suffix] for suffix in ("", PROXIED) for row in found.values() for name in plain)
    reasons = list(dict.fromkeys(why for why in order if why))
    yield from _table(found, plain, "", reasons)
    yield ""
    yield "With PROXY headers (?proxy=):"
    yield from _table(found, plain, PROXIED, reasons)
    yield ""
    yield from (f"{number:2}  {why}" for number, why in enumerate(reasons, 1))


def _table(
    found: Mapping[str, Mapping[str, str]], addresses: list[str], suffix: str, reasons: list[str]
) -> Iterator[str]:
    first = max(map(len, ("kind", *found)))
    widths = [max(len(address), len(SERVED)) + GAP for address in addresses]

    def line(name: str, words: Iterator[str]) -> str:
        padded = (f"{word:{width}}" for word, width in zip(words, widths, strict=True))
        return f"{name:{first + GAP}}{''.join(padded)}".rstrip()

    yield line("kind", iter(addresses))
    for name, row in found.items():
        whys = (row[address + suffix] for address in addresses)
        yield line(name, (str(reasons.index(why) + 1) if why else SERVED for why in whys))
