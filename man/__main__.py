"""Each manual page is one page of docs/, in another dress: what one says, the other cannot say otherwise."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from echod.version import VERSION
from man.markdown import Block, Code, Heading, blocks
from man.roff import body, escape, usage

TOP: Final = Path(__file__).parents[1]
VOLUMES: Final = {"1": "User Commands", "5": "File Formats", "8": "System Administration"}


@dataclass(frozen=True)
class Page:
    """One manual page, and where it comes from."""

    source: str  #: in docs/
    is_for: str  #: what stands behind its name in lists of pages
    synopsis: tuple[str, ...] = ()  #: where the source does not show any
    also: tuple[str, ...] = ()


PAGES: Final = {
    "echod.8": Page("ECHOD.md", "an echo daemon on every kind of socket", also=("systemd.socket(5)", "inetd(8)")),
    "echoctl.1": Page("ECHOCTL.md", "talk to an echo daemon, and measure it", also=("ping(8)", "nc(1)")),
    "echod.toml.5": Page(
        "CONFIG.md", "the configuration of echod", ("/etc/echod/echod.toml", "/etc/echod/conf.d/*.toml")
    ),
}


def named(file: str) -> str:
    """`echod(8)`, for the file `echod.8`."""
    name, _, section = file.rpartition(".")
    return f"{name}({section})"


LINKED: Final = {page.source: named(file) for file, page in PAGES.items()}


def page(file: str) -> str:
    """The text of one manual page."""
    asked = PAGES[file]
    name, _, section = file.rpartition(".")
    source = TOP / "docs" / asked.source
    found = list(blocks(source.read_text("utf-8")))
    shown = asked.synopsis or _usage(name, found)
    rest = [
        block for block in found if not ((isinstance(block, Heading) and block.level == 1) or _is_usage(name, block))
    ]
    first = [*map(named, (other for other in sorted(PAGES) if other != file)), *asked.also]
    lines = [
        rf".\" Made of docs/{asked.source} by `make man`: change it there.",
        f'.TH {name.upper()} {section} {_date(source)} "echod {VERSION}" "{VOLUMES[section]}"',
        ".SH NAME",
        rf"{escape(name)} \- {escape(asked.is_for)}",
        ".SH SYNOPSIS",
        *(".nh", ".ad l", ".PD 0"),
        *(part for line in shown for part in (".HP 4", rf"\fB{usage(line)}\fR")),
        *(".PD", ".ad", ".hy"),
        ".SH DESCRIPTION",
        *body(rest, LINKED),
        '.SH "SEE ALSO"',
        ", ".join(rf"\fB{other.partition('(')[0]}\fR({other.partition('(')[2]}" for other in first),
        ".PP",
        r"All pages, with the services one by one: \fI/usr/share/doc/echod/\fR",
    ]
    return "\n".join(_without_idle_breaks(lines)) + "\n"


def _date(source: Path) -> str:
    """When the source was last changed; $SOURCE_DATE_EPOCH is how a build that can be repeated says it."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or source.stat().st_mtime
    return datetime.fromtimestamp(int(seconds), UTC).date().isoformat()


def _is_usage(name: str, block: Block) -> bool:
    """Whether this shows how the program is called."""
    return isinstance(block, Code) and not block.fenced and all(name in line.split() for line in block.lines)


def _usage(name: str, found: list[Block]) -> list[str]:
    return [line for block in found if _is_usage(name, block) and isinstance(block, Code) for line in block.lines]


def _without_idle_breaks(lines: list[str]) -> list[str]:
    """A heading makes room for what follows it: no paragraph need begin there."""
    behind = zip(["", *lines], lines, strict=False)
    return [line for last, line in behind if line != ".PP" or not last.startswith((".SH", ".SS"))]


def main(directory: Path) -> None:
    """Write them all."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in PAGES:
        (directory / file).write_text(page(file), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m man DIRECTORY")
    main(Path(sys.argv[1]))
