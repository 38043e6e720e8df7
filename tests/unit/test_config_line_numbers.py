"""The line of each key: paths are compared with tomllib, and lines with the writer of the document."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.config.errors import LocatedError, element, joined, toml_text
from echod.config.line_numbers import line_numbers, located

DOCUMENT = """\
# a comment with [brackets] and a = "sign"
[services.echo]
listen = [ # one
    "tcp://127.0.0.1:7",

    "udp://127.0.0.1:7", # two ]
]
allow = ["::1"]
limits.idle = "5m"
[services.echo.tls]
text = '''
[services.echo.faults]
'''
[services."a.b"]
kind = "echo"
[services.late.limits]
[services]
late.listen = []
[[table]]
key = {inner = 1, "other" = [2, {deep = 3}]}
[[table]]
[table.below]
"""


def everything(content: Any, path: str = "") -> set[str]:
    """The path of every key and of every element."""
    inner = [(joined(path, key), part) for key, part in content.items()] if isinstance(content, dict) else []
    inner += [(element(path, at), part) for at, part in enumerate(content)] if isinstance(content, list) else []
    return {path for path, _ in inner} | {deeper for path, part in inner for deeper in everything(part, path)}


class Documents(SynchronousTestCase):
    def test_a_line_for_each_key(self) -> None:
        expected = {
            "services": 17,
            "services.echo": 2,
            "services.echo.listen": 3,
            "services.echo.listen[0]": 4,
            "services.echo.listen[1]": 6,
            "services.echo.allow[0]": 8,
            "services.echo.limits": 9,
            "services.echo.limits.idle": 9,
            "services.echo.tls.text": 11,
            'services."a.b"': 14,
            'services."a.b".kind': 15,
            "services.late": 16,
            "services.late.limits": 16,
            "services.late.listen": 18,
            "table": 19,
            "table[0]": 19,
            "table[0].key.inner": 20,
            "table[0].key.other[1].deep": 20,
            "table[1]": 21,
            "table[1].below": 22,
        }
        self.assertEqual(line_numbers(DOCUMENT, expected), expected)

    def test_a_missing_key_has_no_line(self) -> None:
        self.assertEqual(line_numbers(DOCUMENT, ["services.echo.faults", "nothing", ""]), {})

    def test_a_missing_key_has_the_line_of_its_table(self) -> None:
        file = Path("/x.toml")
        errors = [
            LocatedError(file, "services.echo.listen[7]", "a"),
            LocatedError(file, "nothing", "b"),
            LocatedError(Path("y"), "", "c"),
        ]
        found = [str(error) for error in located(errors, {file: DOCUMENT})]
        self.assertEqual(found, ["/x.toml:3: services.echo.listen[7]: a", "/x.toml: nothing: b", "y: c"])

    def test_a_key_of_a_million_parts_takes_little_memory(self) -> None:
        self.assertEqual(line_numbers("a." * 400_000 + "b = 1\nc = 2", ["c"]), {"c": 2})

    def test_arrays_that_are_nested_too_deeply_end_the_search(self) -> None:
        self.assertEqual(line_numbers("a = 1\nb = " + "[" * 9000 + "]" * 9000, ["a"]), {"a": 1})


_keys = st.text(st.sampled_from("ab-_.\"\\'é# \t☃\U0001f600"), min_size=1, max_size=4)
_texts = st.text(st.sampled_from("a\"'\\[]{}#=,\n\t .é"), max_size=8)
_values = st.recursive(
    st.integers(-9, 9) | st.booleans() | _texts | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=12,
)


class Writer:
    """Writes values as TOML in a form that is drawn, and notes at which line each key begins."""

    def __init__(self, draw: Any) -> None:
        self.text = ""
        self.lines: dict[str, int] = {}
        self._draw = draw

    def note(self, path: str) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def gap(self) -> str:
        """White space where an array may have it."""
        return str(self._draw(st.sampled_from(["", " ", "\n", " # ]\n\t", "\r\n"])))

    def key(self, key: str) -> str:
        bare = key.isascii() and key.replace("-", "a").replace("_", "a").isalnum()
        forms = [toml_text(key), "".join(f"\\U{ord(c):08x}" for c in key).join('""')]
        forms += [key] if bare else []
        forms += [f"'{key}'"] if "'" not in key else []
        return str(self._draw(st.sampled_from(forms)))

    def value(self, value: Any, path: str) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for at, (key, inner) in enumerate(value.items()):
                self.text += ", " if at else " "
                self.note(joined(path, key))
                self.text += f"{self.key(key)} = "
                self.value(inner, joined(path, key))
            self.text += "}"
        elif isinstance(value, list):
            self.text += "["
            for at, inner in enumerate(value):
                self.text += self.gap()
                self.note(element(path, at))
                self.value(inner, element(path, at))
                self.text += self.gap() + ("," if at < len(value) - 1 or self._draw(st.booleans()) else "")
            self.text += self.gap() + "]"
        elif isinstance(value, str):
            escaped = value.replace("\\", "\\\\").replace('"""', '""\\"')
            forms = [toml_text(value), f'"""\n{escaped}"""'] if not escaped.endswith('"') else [toml_text(value)]
            forms += [f"'{value}'"] if "'" not in value and "\n" not in value else []
            forms += [f"'''\n{value}'''"] if "'''" not in value and not value.endswith("'") else []
            self.text += self._draw(st.sampled_from(forms))
        else:
            self.text += str(value).lower() if isinstance(value, bool) else str(value)

    def table(self, content: dict[str, Any], path: str, header: str) -> None:
        """A table: first its values, then the tables inside of it, each under a header of its own if drawn."""
        later = []
        for key, value in content.items():
            inner = joined(path, key)
            if isinstance(value, dict) and self._draw(st.booleans()):
                later.append((key, value, inner))
                continue
            self.note(inner)
            self.text += f"{self.key(key)} = "
            self.value(value, inner)
            self.text += self._draw(st.sampled_from(["\n", " # comment = 1\n", "\n\n"]))
        for key, value, inner in later:
            own = f"{header} . {self.key(key)}" if header else self.key(key)
            self.note(inner)
            self.text += f"[ {own} ]\n"
            self.table(value, inner, own)


@st.composite
def documents(draw: Any) -> Writer:
    writer = Writer(draw)
    writer.table(draw(st.dictionaries(_keys, _values, max_size=4)), "", "")
    return writer


@given(documents())
def test_lines_are_those_of_the_writer_and_paths_those_of_tomllib(written):
    content = tomllib.loads(written.text)
    assert everything(content) == set(written.lines)
    assert line_numbers(written.text, written.lines) == written.lines


_pieces = st.sampled_from(
    [
        "[a]",
        "[[b]]",
        "[b.c]",
        "[a.b]",
        "a.c = 1",
        'b = "]"',
        "c = [",
        "]",
        "1,",
        "x = {y = 1}",
        '"""',
        "'",
        "=",
        "\n",
        "#",
    ]
)


@given(st.lists(_pieces, max_size=12).map("\n".join))
def test_whatever_tomllib_accepts_has_the_same_paths(text):
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    paths = everything(content)
    assert set(line_numbers(text, paths)) == paths
