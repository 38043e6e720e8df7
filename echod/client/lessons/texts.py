"""Texts in English and Chinese, the choice between them, and received bytes as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

from echod.escaping import clipped, escaped

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[str, ...]] = get_args(Language)
VARIABLES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The variables of the locale of messages, the strongest first (POSIX, XBD 8.2). An empty one counts as unset."""
LONGEST: Final = 60  #: characters of received text in a message


class Text(NamedTuple):
    """One text in each language. Both have the same `{placeholders}`."""

    en: str
    zh: str

    def of(self, language: Language, **values: object) -> str:
        """The text in a language, with values in place of its placeholders. Values are escaped."""
        text = self.zh if language == "zh" else self.en
        return text.format(**{name: escaped(str(value)) for name, value in values.items()})


NOTHING: Final = Text("nothing", "空内容")  #: in place of an empty value


class Statement(NamedTuple):
    """A text with its values, such as what was wrong. A value may be a statement; an empty text becomes `nothing`."""

    text: Text
    values: Mapping[str, object]

    def of(self, language: Language) -> str:
        """The statement in a language."""
        return self.text.of(language, **{name: _value(value, language) for name, value in self.values.items()})


def _value(value: object, language: Language) -> object:
    if isinstance(value, Statement):
        return value.of(language)
    return NOTHING.of(language) if value == "" else value


def language_of(environ: Mapping[str, str]) -> Language:
    """The language of the locale: Chinese for `zh_*`, otherwise English."""
    name = next((value for variable in VARIABLES if (value := environ.get(variable))), "")
    return "zh" if name.partition("_")[0].partition(".")[0] == "zh" else "en"


def shown(data: bytes) -> str:
    """Received bytes in a message: escaped, at most LONGEST characters, with line ends as `\\n` and `\\r`."""
    text = data[: 4 * LONGEST + 1].decode("utf-8", "surrogateescape")
    return clipped(text.replace("\r", "\\r").replace("\n", "\\n"), LONGEST)
