"""A drawing of boxes, lines and text as SVG: readable on light and dark pages, with a title for screen readers.

A drawing has a background of its own, because a page in its dark theme may show it on a system in light mode.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final, Literal
from xml.sax.saxutils import escape

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")
Kind = Literal["plain", "client", "server", "kernel", "wrong", "quiet"]  #: what a part shows; each kind has its colour
Anchor = Literal["start", "middle", "end"]

WIDTH: Final = 520.0  #: of a drawing: a telephone shows it at three quarters of its size
SIZE: Final = 14.0  #: of text, in pixels
LINE: Final = 19.0  #: from one line of text to the next
FONT: Final = (
    "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'WenQuanYi Micro Hei', sans-serif"
)
COLOURS: Final[dict[str, tuple[dict[Kind, str], str, str]]] = {
    # scheme: the colours of the kinds, the background, the text
    "light": (
        {
            "plain": "#5f6b7a",
            "client": "#1d5fbf",
            "server": "#1b7340",
            "kernel": "#7a4bb0",
            "wrong": "#b3261e",
            "quiet": "#69727d",
        },
        "#ffffff",
        "#1c2126",
    ),
    "dark": (
        {
            "plain": "#9aa7b5",
            "client": "#7fb2ff",
            "server": "#6fcf97",
            "kernel": "#c3a2f0",
            "wrong": "#ff9d94",
            "quiet": "#98a2ad",
        },
        "#15191e",
        "#e8ecf0",
    ),
}


def words(language: Language) -> Callable[[str, str], str]:
    """A function that selects the English or the Chinese text."""
    return lambda english, chinese: english if language == "en" else chinese


def width_of(text: str, size: float = SIZE) -> float:
    """The estimated width of a text in pixels: a wide character is one em, another one 0.56 em."""
    return sum(size if unicodedata.east_asian_width(letter) in "WF" else 0.56 * size for letter in text)


class Drawing:
    """Parts are added from the back to the front; `svg` returns the picture, as high as its parts need."""

    def __init__(self, title: str, description: str, language: Language, width: float = WIDTH) -> None:
        self.title = title  #: also the alternative text of the picture on its page
        self.description = description
        self.language = language
        self.width = width
        self.parts: list[str] = []  #: elements of SVG, from the back to the front
        self._bottom = 0.0

    def text(self, x: float, y: float, text: str, kind: Kind | None = None, anchor: Anchor = "start") -> None:
        """Add one line; `y` is its base line. Without a kind it has the colour of text."""
        self._add(f'<text x="{x:g}" y="{y:g}"{_class("t", kind)} text-anchor="{anchor}">{escape(text)}</text>', y + 5)

    def label(self, x: float, y: float, text: str, kind: Kind | None = None) -> None:
        """Add one line with its centre at `x`, on the background, so that a line under it does not cross the text."""
        half = width_of(text) / 2 + 4
        self._add(f'<rect x="{x - half:g}" y="{y - 14:g}" width="{2 * half:g}" height="{LINE:g}" class="b"/>', y)
        self.text(x, y, text, kind, "middle")

    def box(self, x: float, y: float, width: float, height: float, *lines: str, kind: Kind = "plain") -> None:
        """Add a box, with these lines of text in its centre. Raises ValueError if a line is too wide for it."""
        for line in lines:
            if width_of(line) > width - 8:
                raise ValueError(f"{line!r} is {width_of(line):.0f} wide, and its box {width:g}")
        self._add(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"{_class("o", kind)}/>', y + height
        )
        first = y + height / 2 + 5 - (len(lines) - 1) * LINE / 2
        for number, line in enumerate(lines):
            self.text(x + width / 2, first + number * LINE, line, None, "middle")

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: Kind = "plain", dashed: bool = False) -> None:
        """Add a line."""
        self._line(x1, y1, x2, y2, kind, ' stroke-dasharray="5 4"' if dashed else "")

    def arrow(self, x1: float, y1: float, x2: float, y2: float, kind: Kind = "plain", dashed: bool = False) -> None:
        """Add a line with its head at the second point."""
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._line(x1, y1, x2, y2, kind, f'{dashes} marker-end="url(#{kind})"')

    def cross(self, x: float, y: float) -> None:
        """Add the mark of a thing that is lost or refused."""
        self.line(x - 6, y - 6, x + 6, y + 6, "wrong")
        self.line(x - 6, y + 6, x + 6, y - 6, "wrong")

    def svg(self) -> str:
        """The picture as a file."""
        height = self._bottom + 12
        language = {"en": "en", "zh": "zh-Hans"}[self.language]
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {height:g}" width="{self.width:g}"'
            f' height="{height:g}" role="img" aria-labelledby="title" aria-describedby="desc" xml:lang="{language}">'
        )
        return "\n".join(
            (
                head,
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="desc">{escape(self.description)}</desc>',
                f"<style>{_style()}</style>",
                f"<defs>{''.join(_marker(kind) for kind in COLOURS['light'][0])}</defs>",
                f'<rect width="{self.width:g}" height="{height:g}" rx="8" class="b"/>',
                *self._behind(),
                *self.parts,
                "</svg>\n",
            )
        )

    def _behind(self) -> list[str]:
        """Elements behind all parts, for a kind of drawing that knows them only at the end."""
        return []

    def _line(self, x1: float, y1: float, x2: float, y2: float, kind: Kind, more: str) -> None:
        self._add(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"{_class("l", kind)}{more}/>', max(y1, y2))

    def _add(self, part: str, bottom: float) -> None:
        self.parts.append(part)
        self._bottom = max(self._bottom, bottom)


def _class(form: str, kind: Kind | None) -> str:
    return f' class="{form} {kind}"' if kind else f' class="{form}"'


def _marker(kind: Kind) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L10 5L0 10z" class="f {kind}"/></marker>'
    )


def _style() -> str:
    def rules(scheme: str) -> str:
        kinds, background, text = COLOURS[scheme]
        return (
            f".b{{fill:{background}}}.t{{fill:{text}}}.o{{fill:{background}}}"
            + "".join(f".t.{kind},.f.{kind}{{fill:{colour}}}" for kind, colour in kinds.items())
            + "".join(f".o.{kind},.l.{kind}{{stroke:{colour}}}" for kind, colour in kinds.items())
        )

    fixed = f".t{{font:{SIZE:g}px {FONT}}}.o,.l{{stroke-width:1.6}}"
    return f"{fixed}{rules('light')}@media(prefers-color-scheme:dark){{{rules('dark')}}}"
