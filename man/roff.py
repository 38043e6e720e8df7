"""Blocks of Markdown as the text of a manual page, in the macros of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from man.markdown import Block, Bullets, Code, Heading, Paragraph, Table

LINK: Final = r"\[(?:[^\[\]]|\[[^\]]*\])+\]\([^)\s]+\)"  #: its text may have brackets of its own
LONGEST: Final = 69  #: columns of a line that is shown as it is, in a terminal of 80
SHIPPED: Final = "/usr/share/doc/echod/"  #: where the packages have the other pages
WIDTH: Final = 8  #: columns by which what a table or a list says is set in
CALLED: Final = {"Exit codes": "Exit status"}  #: what manual pages call a chapter of ours (man-pages(7))
MEANING: Final = ("Meaning", "Means", "Does", "Is", "What happens", "Says", "What of it")
"""The column of a table that says what its first one is; the others are facts, behind it."""


def body(found: Iterable[Block], pages: Mapping[str, str]) -> Iterator[str]:
    """The lines of a page's body. `pages` says which manual page a linked page has become: `echoctl(1)`."""
    for block in found:
        match block:
            case Heading(level, text):
                title = re.sub(r"\\f[BIR]", "", inline(CALLED.get(text, text), pages))
                if level == 2:
                    yield f'.SH "{title if "`" in text else title.upper()}"'
                else:
                    yield f'.SS "{title}"'
            case Paragraph(text):
                yield from (".PP", *prose(text, pages))
            case Bullets(points):
                for point in points:
                    yield from (r".IP \(bu 3", *prose(point, pages))
            case Code(lines, _):
                short = (part for line in lines for part in wrapped(line))
                yield from (".PP", ".RS 4", ".EX", *map(literal, short), ".EE", ".RE")
            case Table():
                yield from _list(block, pages)


def _list(table: Table, pages: Mapping[str, str]) -> Iterator[str]:
    """A table as a list: it fits any terminal, and reads like other manual pages."""
    tags = 2 if table.head[:2] == ("Kind", "Key") else 1
    said = next((at for at, name in enumerate(table.head) if name in MEANING), tags)
    for row in table.rows:
        yield f".TP {WIDTH}"
        yield from prose(" ".join(row[:tags]), pages)
        yield from prose(row[said], pages)
        facts = [
            f"{name}: {cell}."
            for at, (name, cell) in enumerate(zip(table.head, row, strict=True))
            if at >= tags and at != said and cell != "—"
        ]
        if facts:
            yield ".br"
            yield from prose(" ".join(facts), pages)


def prose(text: str, pages: Mapping[str, str]) -> list[str]:
    """Running text, a sentence a line, so that none begins with what roff would take for a request."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z`*])", text)
    return [re.sub(r"^(?=[.'])", r"\\&", inline(sentence, pages)) for sentence in sentences]


def inline(text: str, pages: Mapping[str, str]) -> str:
    """A piece of prose with its code, its emphasis and its links."""
    parts = re.split(rf"(`[^`]+`|\*\*[^*]+\*\*|(?<!\w)\*[^*\s][^*]*\*(?!\w)|{LINK})", text)
    return "".join(_part(part, pages) for part in parts)


def _part(part: str, pages: Mapping[str, str]) -> str:
    if match := re.fullmatch(r"`([^`]+)`", part):
        return rf"\fB{escape(match[1], code=True)}\fR"
    if match := re.fullmatch(r"\*\*([^*]+)\*\*", part):
        return rf"\fB{escape(match[1])}\fR"
    if match := re.fullmatch(r"\*([^*]+)\*", part):
        return rf"\fI{escape(match[1])}\fR"
    if re.fullmatch(LINK, part):
        text, _, target = part[1:-1].rpartition("](")
        if named := pages.get(target.partition("#")[0]):
            name, _, section = named.partition("(")
            return rf"\fB{escape(name)}\fR({section}"
        file = target.partition("#")[0]
        if text in (file, file.removesuffix(".md")):
            return rf"\fI{escape(SHIPPED + file)}\fR"
        return inline(text, pages)
    return escape(part)


def wrapped(line: str) -> Iterator[str]:
    """A line that is shown as it is, in as many as a terminal of 80 columns needs; a remark goes on as a remark."""
    remark = re.search(r"(?<=\s)# |^# ", line)
    indent = " " * remark.start() + "# " if remark else " " * (len(line) - len(line.lstrip()) + 4)
    while len(line) > LONGEST and " " in line[len(indent) : LONGEST + 1]:
        cut = line.rindex(" ", len(indent), LONGEST + 1)
        yield line[:cut].rstrip()
        line = indent + line[cut:].lstrip()
    yield line


def usage(line: str) -> str:
    """How a program is called: what stands in brackets, and an option with its value, stays together."""
    return re.sub(r"\[[^\[\]]*\]", lambda match: match[0].replace(" ", r"\ "), literal(line))


def literal(line: str) -> str:
    """A line that is shown as it is."""
    return re.sub(r"^(?=[.'])", r"\\&", escape(line, code=True))


def escape(text: str, *, code: bool = False) -> str:
    """Text that roff prints as it stands; in code a hyphen and a quote are those that one can type."""
    text = text.replace("\\", r"\e").replace("~", r"\(ti").replace("^", r"\(ha").replace('"', r"\(dq")
    text = text.replace("...", r"\&...") if text.startswith("...") else text
    return text.replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga") if code else text
