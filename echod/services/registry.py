"""Finds all kinds of services: the modules of this folder, and those of other packages.

Another package adds a kind with an entry point in the group `echod.services` that names a subclass of
`echod.model.Service`; the name of the entry point is the kind.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from traceback import format_exception_only
from typing import Final

import echod.services
from echod.model import Service

GROUP: Final = "echod.services"

PROBE: Final = bytes(range(256))  #: every byte value, to check the length of a transform's result

PLANNED: Final[frozenset[str]] = frozenset()
"""Kinds of a later version."""


class UnusableKind(Exception):
    """A kind of another package cannot be used; the message names the kind and the reason."""


class Kinds(dict[str, type[Service]]):
    """The usable kinds by name. `unusable` has the error messages of the others by name."""

    def __init__(self, found: Mapping[str, type[Service]], unusable: Mapping[str, str]) -> None:
        super().__init__(sorted(found.items()))
        self.unusable = dict(sorted(unusable.items()))


def kinds(plugins: Iterable[EntryPoint] | None = None) -> Kinds:
    """Every kind, in alphabetical order. An error in another package affects only services of its kind.

    A built-in kind has priority over one of another package. If two other packages use the same name, neither is
    usable.
    """
    ours = {kind.kind: kind for kind in _ours()}
    found: dict[str, type[Service]] = {}
    unusable: dict[str, str] = {}
    for plugin in entry_points(group=GROUP) if plugins is None else plugins:
        known = ours.get(plugin.name) or found.get(plugin.name)
        try:
            if known is not None:
                raise UnusableKind(f"kind {plugin.name!r} of {plugin.value} exists already: {known.__module__}")
            found[plugin.name] = _load(plugin)
        except UnusableKind as error:
            unusable[plugin.name] = str(error)
    return Kinds(ours | {name: kind for name, kind in found.items() if name not in unusable}, unusable)


def _ours() -> Iterable[type[Service]]:
    for module_info in pkgutil.iter_modules(echod.services.__path__):
        module = importlib.import_module(f"{echod.services.__name__}.{module_info.name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Service) and kind.__module__ == module.__name__ and hasattr(kind, "kind"):
                yield kind


def _load(plugin: EntryPoint) -> type[Service]:
    try:
        kind = plugin.load()
    except (Exception, SystemExit) as error:  # code of another package may raise anything
        raise UnusableKind(f"kind {plugin.name!r}: {plugin.value} cannot be loaded: {_text_of(error)}") from error
    if not (inspect.isclass(kind) and issubclass(kind, Service)):
        raise UnusableKind(f"kind {plugin.name!r}: {plugin.value} is not a subclass of echod.model.Service")
    if getattr(kind, "kind", None) != plugin.name:
        own = getattr(kind, "kind", None)
        raise UnusableKind(f"kind {plugin.name!r}: {plugin.value} has the kind {own!r}; expected {plugin.name!r}")
    if wrong := _error_of(kind):
        raise UnusableKind(f"kind {plugin.name!r}: {plugin.value} {wrong}")
    return kind


def _error_of(kind: type[Service]) -> str | None:
    """The error of a kind of another package, or None. It is checked at the start, not at its first connection."""
    if not isinstance(getattr(kind, "summary", None), str):
        return "has no summary"
    for carried, method in (("streams", "session"), ("datagrams", "session" if kind.conversational else "answer")):
        own = getattr(kind, method) is not getattr(Service, method)
        if getattr(kind, carried) and kind.transform is None and not own:
            return f"has neither a transform nor {method}(); or set {carried} = False"
    try:
        if kind.transform is not None and len(kind.transform(PROBE)) != len(PROBE):
            return "has a transform whose result has another length than its argument"
        kind()
    except (Exception, SystemExit) as error:
        return f"cannot be created with default options: {_text_of(error)}"
    return None


def _text_of(error: BaseException) -> str:
    return format_exception_only(error)[-1].strip()
