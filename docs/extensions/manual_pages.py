"""Converts a page of the site to a manual page, where man(7) and the web differ.

Four conversions are applied only by Sphinx's `man` builder: the usage block of a page becomes its SYNOPSIS and
the text after it the DESCRIPTION; a table becomes a definition list, because a terminal has no room for columns; a link
to another page becomes that page's name; SEE ALSO is added. The pages themselves stay plain Markdown.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

WIDTH: Final = 69
"""Columns of a literal block: 80, less the indents of man(7)'s text (7) and of the block (3), and one spare."""

SEE_ALSO: Final = {
    "ECHOD": "echoctl(1), echod.toml(5), systemd.socket(5), inetd(8)",
    "ECHOCTL": "echod(8), echod.toml(5), ping(8), nc(1)",
    "CONFIG": "echod(8), echoctl(1), echod-faults(7)",
    "FAULTS": "echod.toml(5), echoctl(1), echod(8), tc-netem(8)",
    "EVENTS": "echod(8), echoctl(1), echod.toml(5), journalctl(1)",
}
SYNOPSIS: Final = {
    "CONFIG": "/etc/echod/echod.toml\n/etc/echod/conf.d/*.toml",
    "EVENTS": "echoctl events [--follow]",
    "FAULTS": "[services.NAME.faults]\nechoctl faults NAME [KEY=VALUE…]",
}
"""The synopsis of a page that shows no usage."""


class ManualPage(SphinxPostTransform):
    """The four conversions, on a page's document tree."""

    default_priority = 5  # before references are resolved into bare links
    builders = ("man",)

    def run(self, **_options: Any) -> None:
        """Convert one page in place."""
        _convert_tables(self.document)
        _convert_links(self.document, {page: f"{name}({section})" for page, name, *_, section in self.config.man_pages})
        _wrap_literals(self.document)
        _arrange(self.document, self.env.docname)


class LinksIntoTheTree(SphinxPostTransform):
    """A link to a file outside this folder shows its text alone: the site and the manual pages are read elsewhere."""

    default_priority = 4

    def run(self, **_options: Any) -> None:
        """Replace such links in one page."""
        source = Path(self.env.srcdir)
        for link in list(self.document.findall(addnodes.pending_xref)):
            target = Path(source, str(link.get("reftarget", "")))
            if not Path(os.path.normpath(target)).is_relative_to(source):
                link.replace_self(_inlines(link))


def _convert_tables(document: nodes.document) -> None:
    for table in list(document.findall(nodes.table)):
        head = [entry.astext() for entry in next(iter(table.findall(nodes.thead))).findall(nodes.entry)]
        items = nodes.definition_list()
        for row in next(iter(table.findall(nodes.tbody))).findall(nodes.row):
            first, *rest = row.findall(nodes.entry)
            definition = nodes.definition()
            for name, cell in zip(head[1:], rest, strict=True):
                paragraph = nodes.paragraph()
                if len(rest) > 1 and cell.astext() not in ("", "—"):
                    paragraph += nodes.Text(f"{name}: ")
                for part in cell.children:
                    paragraph.extend(part.children)
                if paragraph.astext() not in ("", "—"):
                    definition += paragraph
            term = nodes.term()
            for part in first.children:
                term.extend(part.children)
            items += nodes.definition_list_item("", term, definition)
        table.replace_self(items)


def _convert_links(document: nodes.document, manuals: dict[str, str]) -> None:
    for link in list(document.findall(addnodes.pending_xref)) + list(document.findall(nodes.reference)):
        target = str(link.get("reftarget") or link.get("refuri") or "").partition("#")[0].removesuffix(".md")
        shown = link.astext()
        manual = manuals.get(target)
        if shown.removesuffix(".md") == target:
            text = manual or f"/usr/share/doc/echod/{target}.md"
            link.replace_self(nodes.strong("", text) if manual else nodes.emphasis("", text))
        elif manual and shown not in manual:
            link.replace_self([*_inlines(link), nodes.Text(" (see "), nodes.strong("", manual), nodes.Text(")")])
        else:
            link.replace_self(_inlines(link))


def _inlines(link: nodes.Element) -> list[nodes.Node]:
    """The content of a link, without the wrapper that Sphinx puts around it."""
    parts = list(link.children)
    while len(parts) == 1 and type(parts[0]) is nodes.inline:
        parts = list(parts[0].children)
    return parts


def _wrap_literals(document: nodes.document) -> None:
    for block in document.findall(nodes.literal_block):
        lines = block.astext().splitlines()
        wrapped = [part for line in lines for part in _wrapped(line)]
        block.children = []
        block += nodes.Text("\n".join(wrapped))


def _wrapped(line: str) -> list[str]:
    """A line in pieces of at most WIDTH; a comment continues as a comment, in the same column."""
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    begin = line.find("# ")
    if 0 <= begin < WIDTH - 24:
        indent = " " * begin + "# "
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    ) or [line]


def _arrange(document: nodes.document, page: str) -> None:
    """SYNOPSIS, DESCRIPTION, the page's own sections, SEE ALSO."""
    top = next(iter(document.findall(nodes.section)))
    title, *rest = top.children
    blocks = [block for block in rest if not isinstance(block, nodes.section)]
    sections = [block for block in rest if isinstance(block, nodes.section)]
    usage: list[nodes.Node] = [nodes.literal_block("", SYNOPSIS[page])] if page in SYNOPSIS else []
    if not usage and blocks and isinstance(blocks[0], nodes.literal_block):
        usage = [blocks.pop(0)]
    if not usage:
        texts = [block.astext() for block in document.findall(nodes.literal_block)]
        usage = [nodes.literal_block("", "\n".join(text for text in texts if text.startswith("echoctl ")))]
    top.children = []
    top += [title, _section("SYNOPSIS", usage), _section("DESCRIPTION", blocks), *sections]
    top += _section("SEE ALSO", [nodes.paragraph("", SEE_ALSO[page])])


def _section(name: str, content: Sequence[nodes.Node]) -> nodes.section:
    return nodes.section(
        "", nodes.title("", name), *content, ids=[name.lower().replace(" ", "-")], names=[name.lower()]
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry point of an extension."""
    app.add_lexer("conversation", TextLexer)  # the form of the chat examples, which the tests replay
    app.add_post_transform(LinksIntoTheTree)
    app.add_post_transform(ManualPage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
