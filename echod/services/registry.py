"""The kinds there are: ours, one file each beside this one, and those of other packages.

Another package adds a kind by an entry point in the group `echod.services` that names a subclass of
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

PROBE: Final = bytes(range(256))  #: every byte, to see what a transform makes of it

PLANNED: Final = frozenset({"reflector"})
"""Kinds that the interface names and this version may not have yet."""


class UnusableKind(Exception):
    """A package announced a kind that cannot be used; the message says which, and why."""


class Kinds(dict[str, type[Service]]):
    """Every kind that can be used by its name, and of those that cannot be used `unusable`: why, by their name."""

    def __init__(self, found: Mapping[str, type[Service]], unusable: Mapping[str, str]) -> None:
        super().__init__(sorted(found.items()))
        self.unusable = dict(sorted(unusable.items()))


def kinds(plugins: Iterable[EntryPoint] | None = None) -> Kinds:
    """Every kind, in the order of the alphabet. What is wrong with another package stops only a service of its kind.

    A kind of ours stays what it is, whatever another package calls the same; of two other packages neither is taken.
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
            if issubclass(kind, Service) and kind.__module__ == module.__name__:
                yield kind


def _load(plugin: EntryPoint) -> type[Service]:
    try:
        kind = plugin.load()
    except (Exception, SystemExit) as error:  # another package's code: whatever it raises, we say so
        raise UnusableKind(f"kind {plugin.name!r}: {plugin.value} cannot be loaded: {_said(error)}") from error
    if not (inspect.isclass(kind) and issubclass(kind, Service)):
        raise UnusableKind(f"kind {plugin.name!r}: {plugin.value} is not a subclass of echod.model.Service")
    if getattr(kind, "kind", None) != plugin.name:
        raise UnusableKind(f"kind {plugin.name!r}: {plugin.value} calls itself {getattr(kind, 'kind', None)!r}")
    if lack := _lack(kind):
        raise UnusableKind(f"kind {plugin.name!r}: {plugin.value} {lack}")
    return kind


def _lack(kind: type[Service]) -> str | None:
    """What another package's kind lacks, said before its first peer would find out."""
    if not isinstance(getattr(kind, "summary", None), str):
        return "has no summary"
    for carried, method in (("streams", "session"), ("datagrams", "session" if kind.conversational else "answer")):
        own = getattr(kind, method) is not getattr(Service, method)
        if getattr(kind, carried) and kind.transform is None and not own:
            return f"has neither a transform nor {method}(); or set {carried} = False"
    try:
        if kind.transform is not None and len(kind.transform(PROBE)) != len(PROBE):
            return "has a transform whose answer is not as long as its question"
        kind()
    except (Exception, SystemExit) as error:
        return f"cannot be made with the defaults of its options: {_said(error)}"
    return None


def _said(error: BaseException) -> str:
    return format_exception_only(error)[-1].strip()
