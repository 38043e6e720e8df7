"""Names in a chat: which are valid, which are equal, and which look alike."""

from __future__ import annotations

import unicodedata
from typing import Final

from echod.escaping import escaped
from echod.services.confusables import skeleton

LONGEST: Final = 32  #: characters: twice the usual length, and 40 names fit on a page of /who
MARKS: Final = 2  #: combining marks on one letter: Vietnamese, Hebrew and Thai need two; more of them deface lines

_JOINING: Final = "_-."  #: allowed in addition to letters, digits and marks, but not as the first character
_SHOWN: Final = 40  #: characters of a refused name that are shown

# Invisible letters and marks (Default_Ignorable_Code_Point of DerivedCoreProperties.txt, categories L and M).
_INVISIBLE: Final = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, *range(0xFE00, 0xFE10), 0xFFA0))
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))

_PRESENTATION: Final = frozenset("\ufe0e\ufe0f")  # as text, as emoji

# Scripts that are written together (UTS 39, 5.1: Japanese, Korean, Chinese with Bopomofo), by the first word of the
# names of their letters.
_TOGETHER: Final = (
    {"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"},
    {"CJK", "IDEOGRAPHIC", "HANGUL"},
    {"CJK", "IDEOGRAPHIC", "BOPOMOFO"},
)


class WrongName(ValueError):
    """An invalid name; the message gives the reason and is safe to print."""


def name(written: str) -> str:
    """The name in the form in which it is shown (NFKC). Raises WrongName."""
    if not written:
        raise WrongName("a name needs at least one letter or digit")
    if len(written) > 4 * LONGEST:  # before the loops below: a name may have a megabyte
        raise WrongName(f"a name of {len(written)} characters is too long; the maximum is {LONGEST}")
    shown = unicodedata.normalize("NFKC", written)
    if len(shown) > LONGEST:
        raise WrongName(f"a name of {len(shown)} characters is too long; the maximum is {LONGEST}")
    marks = 0
    for character in shown:
        category = unicodedata.category(character)
        if not (category[0] in "LM" or category == "Nd" or character in _JOINING) or character in _INVISIBLE:
            raise WrongName(
                f"{_called(character)} cannot be part of a name: it is made of letters, digits and {_JOINING}"
            )
        marks = marks + 1 if category[0] == "M" else 0
        if marks > MARKS:
            raise WrongName(f"{escaped(shown)} has more than {MARKS} marks on one letter")
    if unicodedata.category(shown[0])[0] not in "LN":
        raise WrongName(f"{escaped(shown)} does not begin with a letter or a digit")
    scripts = {_script(character) for character in shown if unicodedata.category(character)[0] == "L"}
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        raise WrongName(f"{escaped(shown)} mixes {' and '.join(sorted(scripts))}; expected letters of one script")
    return shown


def visible(text: str) -> str:
    """An escaped line in which invisible characters, and marks above MARKS on one letter, are replaced by numbers.

    One emoji or text presentation selector may follow a character.
    """
    if text.isascii():
        return text
    marks, shown = 0, []
    for character in text:
        if character < "\u0300":  # the first combining mark
            marks = 0
        elif character in _PRESENTATION and not marks:
            marks = 1
        else:
            marks = marks + 1 if unicodedata.category(character)[0] == "M" else 0
            if marks > MARKS or character in _INVISIBLE:
                character = f"\\u{{{ord(character):x}}}"
        shown.append(character)
    return "".join(shown)


def key(shown: str) -> str:
    """A key that is equal for equal names: it ignores case and Unicode normalization."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown[: 4 * LONGEST]).casefold())


def lookalike_key(shown: str) -> str:
    """A key that is equal for names that look alike."""
    return skeleton(unicodedata.normalize("NFKC", shown))


def cited(written: str) -> str:
    """Any text given as a name, cut and escaped for a message."""
    part = written[:_SHOWN]
    return escaped(part if part == written else f"{part}…")


def _called(character: str) -> str:
    not_utf8 = 0xDC80 <= ord(character) <= 0xDCFF  # a byte as surrogateescape decodes it
    if (character.isprintable() and character != " ") or not_utf8:
        return escaped(character)
    return f"U+{ord(character):04X}"


def _script(character: str) -> str:
    return unicodedata.name(character, "?").partition(" ")[0]
