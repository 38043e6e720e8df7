"""A sequence diagram: two participants, and the segments or messages between them, from top to bottom."""

from __future__ import annotations

from typing import Final

from docs.figures.drawing import LINE, WIDTH, Drawing, Kind, Language, width_of

TOP: Final = 16.0
HEAD: Final = 34.0  #: the height of a participant's box
FALL: Final = 12.0  #: how much lower an arrow ends than it begins: sending takes time
STEP: Final = 44.0  #: from one message to the next


class Sequence(Drawing):
    """Each message, note or gap is added under the one before it.

    `margin` is the room in pixels for notes beside each participant.
    """

    def __init__(
        self, title: str, description: str, language: Language, left: str, right: str, margin: float = 120.0
    ) -> None:
        super().__init__(title, description, language)
        self._names = (left, right)
        self._margin = margin
        self._left, self._right = margin, WIDTH - margin
        self._y = TOP + HEAD + 30

    def send(self, text: str, kind: Kind = "client", lost: bool = False, dashed: bool = False) -> None:
        """Add a message from left to right; a lost one ends half-way in a cross."""
        self._message(self._left, self._right, text, kind, lost, dashed)

    def reply(self, text: str, kind: Kind = "server", lost: bool = False, dashed: bool = False) -> None:
        """Add a message from right to left."""
        self._message(self._right, self._left, text, kind, lost, dashed)

    def note(self, left: str = "", right: str = "", kind: Kind | None = None) -> None:
        """Write beside the participants, before the next message, what they call, or their state.

        Raises ValueError if a text is wider than the margin.
        """
        for text in (left, right):
            if width_of(text) > self._margin - 10:
                raise ValueError(f"{text!r} is {width_of(text):.0f} wide, and the margin {self._margin - 10:g}")
        self.text(self._left - 8, self._y, left, kind, "end")
        self.text(self._right + 8, self._y, right, kind)
        self._y += LINE

    def _message(self, start: float, end: float, text: str, kind: Kind, lost: bool, dashed: bool) -> None:
        middle, y = (start + end) / 2, self._y + 4
        self.text(middle, y - 3, text, kind, "middle")
        if lost:
            self.line(start, y, middle, y + FALL / 2, kind, dashed)
            self.cross(middle, y + FALL / 2)
        else:
            self.arrow(start, y, end, y + FALL, kind, dashed)
        self._y += STEP

    def _behind(self) -> list[str]:
        """The participants and their lines, which are as long as the drawing."""
        behind = Drawing(self.title, self.description, self.language)
        ends: tuple[tuple[float, str, Kind], ...] = (
            (self._left, self._names[0], "client"),
            (self._right, self._names[1], "server"),
        )
        for x, name, kind in ends:
            half = max(46.0, width_of(name) / 2 + 10)
            behind.line(x, TOP + HEAD, x, self._y - 8, kind)
            behind.box(x - half, TOP, 2 * half, HEAD, name, kind=kind)
        return behind.parts
