"""Reads the parsed files in one pass: looks up every key in `schema`, checks every value, and collects every error.

The files are layers: for each key there is a value of each file, and the last one counts. Files are checked before
they are merged. So overridden values are checked, too, and each value knows its file.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from echod.config import units
from echod.config.errors import LocatedError, element, joined
from echod.config.kind_options import option_forms
from echod.config.schema import ADMIN, KIND_RIGHT, ROOT, SERVICE, SERVICES, Table, missing
from echod.config.value_types import Form, text, type_of
from echod.escaping import escaped
from echod.model import Service
from echod.services.registry import PLANNED, Kinds

Layers = Sequence[tuple[Path, Any]]
"""The values of one path, one for each file; the last one counts."""


@dataclass(frozen=True)
class Written:
    """A configured value that was read without error, and its origin for later errors."""

    value: Any
    file: Path
    path: str


Found = dict[str, Any]
"""The configured keys of one table: a Written for each value, and a Found for each table."""

_SERVICE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
DEFAULT: Final = Path("default")  #: the origin of a default
_TABLES: Final = {
    **{name: table for name, table in ROOT.keys.items() if isinstance(table, Table)},
    SERVICE.name: SERVICE,
    **{f"{SERVICE.name}.{key}": table for key, table in SERVICE.keys.items() if isinstance(table, Table)},
}
"""The tables in which a misplaced key is looked for, by the name that a message has."""
NOT_AVAILABLE: Final = "not available in this version"


class Reading:
    """One pass over all files. `whole` is False if a file could not be read: then missing keys are not reported."""

    def __init__(self, kinds: Mapping[str, type[Service]], errors: list[LocatedError], whole: bool = True) -> None:
        self.kinds = kinds
        self.errors = errors
        self.whole = whole
        self._kind = text(KIND_RIGHT, self.kind)

    def root(self, layers: Layers) -> Found:
        """Read all files. Errors are appended to `errors`."""
        found = self._table(ROOT, layers, "")
        if self.whole and not any(
            content.get("services", {}) != {} or self._misspelled(ROOT, content, "services") for _, content in layers
        ):
            right = 'expected one such as [services.echo] with listen = ["tcp://127.0.0.1:10007"]'
            self.add_error(layers[0][0], "services", f"no service is configured; {right}")
        return found

    def add_error(self, file: Path, path: str, text: str) -> None:
        """Record an error."""
        self.errors.append(LocatedError(file, path, text))

    def kind(self, name: str) -> type[Service]:
        """The kind with this name. Raises ValueError."""
        if name in self.kinds:
            return self.kinds[name]
        if name in PLANNED:
            raise ValueError(f"{name}: {NOT_AVAILABLE}")
        if isinstance(self.kinds, Kinds) and name in self.kinds.unusable:
            raise ValueError(escaped(self.kinds.unusable[name]))
        near = get_close_matches(name.lower(), [*self.kinds, *PLANNED], n=1)
        right = f"did you mean {near[0]}?" if near else "expected one of: " + ", ".join(self.kinds)
        raise ValueError(f"unknown kind {units.shown(name)}; {right}")

    def value(self, name: str, form: Form, content: Any, file: Path, path: str) -> Written | None:
        """Check a value by the form of the key `name`. Returns None after an error, which is recorded.

        An array becomes a tuple with None for each wrong element, so that the others can be checked further.
        """
        try:
            value = form.accept(content)
        except ValueError as error:
            self.add_error(file, path, str(error))
            return None
        if form.each is not None:
            parts = [self.value(name, form.each, part, file, element(path, n)) for n, part in enumerate(value)]
            return Written(tuple(part and part.value for part in parts), file, path)
        if (what := missing(name, value)) is not None:
            self.add_error(file, path, f"{what}: {NOT_AVAILABLE}" if what else NOT_AVAILABLE)
        return Written(file.absolute().parent / value if isinstance(value, Path) else value, file, path)

    def _table(self, table: Table, layers: Layers, path: str) -> Found:
        found: Found = {}
        for key, here in self._keys(layers, path).items():
            form, where = table.keys.get(key), joined(path, key)
            name = f"{table.name}.{key}" if table.name else key
            if form is None:
                for file, _ in here:
                    self.add_error(file, where, f"unknown key; {self._right_key(table, key)}")
            elif form is SERVICES:
                found[key] = self._services(here, where)
            elif isinstance(form, Table):
                if missing(form.name, None) is not None:
                    for file, _ in here:
                        self.add_error(file, where, NOT_AVAILABLE)
                found[key] = self._table(form, here, where)
            else:
                for file, content in here:
                    if written := self.value(name, form, content, file, where):
                        found[key] = written
        return found

    def _keys(self, layers: Layers, path: str) -> dict[str, list[tuple[Path, Any]]]:
        """The values of each key of the table at `path`, one for each file."""
        layers_of: dict[str, list[tuple[Path, Any]]] = {}
        for file, content in layers:
            if not isinstance(content, dict):
                self.add_error(file, path, f"must be a table, not {type_of(content)}")
                continue
            for key, inner in content.items():
                layers_of.setdefault(key, []).append((file, inner))
        return layers_of

    def _services(self, layers: Layers, path: str) -> Found:
        found: Found = {}
        for name, here in self._keys(layers, path).items():
            where = joined(path, name)
            if not _SERVICE_NAME.fullmatch(name):
                right = "expected a letter or digit, then up to 63 letters, digits, _, . and -"
                self.add_error(here[0][0], where, f"invalid service name; {right}")
            if name == ADMIN.name:
                self.add_error(
                    here[0][0], where, "the name admin is reserved for the admin interface; expected another name"
                )
            found[name] = self._service(name, here, where)
        return found

    def _service(self, name: str, layers: Layers, path: str) -> Found:
        """Read one service from all files."""
        tables = [(file, content) for file, content in layers if isinstance(content, dict)]
        written = [content["kind"] for _, content in tables if "kind" in content]
        options = self._options(written[-1] if written else name, layers, path)
        forms: Mapping[str, Form | Table] = {**options, **SERVICE.keys, "kind": self._kind}
        table = Table(SERVICE.name, forms)
        found = self._table(table, layers, path)
        if not any(self._misspelled(table, content, "listen") for _, content in tables):
            self._addresses(found, tables, path)
        if tables and not written:
            try:
                found["kind"] = Written(self.kind(name), DEFAULT, joined(path, "kind"))
            except ValueError as error:
                if self.whole:
                    hint = ' Or add kind = "…"' if str(error).endswith("?") else '; or add kind = "…"'
                    self.add_error(tables[0][0], path, f"{error}{'' if name in PLANNED else hint}")
        return found

    def _addresses(self, found: Found, tables: Layers, path: str) -> None:
        """Check that a service has an address."""
        if tables and self.whole and not any("listen" in content for _, content in tables):
            self.add_error(
                tables[0][0], path, 'listen is missing; expected one such as listen = ["tcp://127.0.0.1:10007"]'
            )
        listen = found.get("listen")
        if listen and not listen.value:
            self.add_error(
                listen.file, listen.path, 'must not be empty; expected an address such as "tcp://127.0.0.1:10007"'
            )

    def _options(self, kind: object, layers: Layers, path: str) -> Mapping[str, Form]:
        """The options of a kind. If the kind does not exist, those of the most similar kind, otherwise of all kinds."""
        name = kind if isinstance(kind, str) else ""
        if name not in self.kinds and name not in PLANNED:
            name = next(iter(get_close_matches(name.lower(), self.kinds, n=1)), "")
        meant = [self.kinds[name]] if name in self.kinds else [*self.kinds.values()]
        forms: dict[str, Form] = {}
        for one in meant:
            try:
                forms |= option_forms(one)
            except (TypeError, NameError) as error:
                if name not in self.kinds:
                    continue  # this kind is not used
                self.add_error(layers[0][0], path, f"kind {one.kind} cannot be configured: {error}")
        return forms

    def _misspelled(self, table: Table, content: Mapping[str, Any], known: str) -> bool:
        """Whether an unknown key has the hint that `known` was meant. That key is then not missing as well."""
        meant = re.compile(rf"did you mean {known}(\.[^?]*)?\?")
        return any(meant.fullmatch(self._right_key(table, key)) for key in content if key not in table.keys)

    def _right_key(self, table: Table, key: str) -> str:
        """The hint for an unknown key of a table."""
        inside: dict[str, Container[str]] = {
            n: inner.keys for n, inner in table.keys.items() if isinstance(inner, Table)
        }
        if table is ROOT:
            inside["services"] = self.kinds
        for name, known in inside.items():
            if key in known and not (name == ADMIN.name and key in SERVICE.keys):
                return f"did you mean {name}.{key}?"
        if key in ROOT.keys:
            return f"it is a table of its own: [{key}]"
        if homes := [name for name, other in _TABLES.items() if key in other.keys]:
            return f"it is a key of {' and '.join(f'[{name}]' for name in homes)}"
        written = key[: units.SHOWN].lower().replace("_", "-")
        begun = [name for name in table.keys if len(written) > 2 and name.startswith(written)]
        near = begun[:1] or get_close_matches(written, table.keys, n=1)
        return f"did you mean {near[0]}?" if near else "expected one of: " + ", ".join(table.keys)
