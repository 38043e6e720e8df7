"""Suggests client commands to type next; printed at a terminal when the daemon is ready."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from echod.daemon.listener import Listener

TRIED: Final = ("upper", "echo")  #: kinds to suggest, best first: the reply of `upper` differs from the request
ADMIN: Final = "admin"  #: the kind of the admin interface


def suggest(
    listeners: Callable[[], Iterable[Listener]], say: Callable[[str], object], name: str, _fields: Mapping[str, Any]
) -> None:
    """Log a command to try next when the daemon is ready, after all other lines of the start."""
    if name == "daemon.ready":
        served = [(ADMIN if one.is_admin else one.running.config.kind.kind, one.label) for one in listeners()]
        if line := hint(served, client_program()):
            say(line)


def hint(served: Iterable[tuple[str, str]], program: str) -> str | None:
    """Client commands that work with this daemon, or None; `served` is pairs of kind and address."""
    served = tuple(served)
    urls = {kind: url.replace("*", "127.0.0.1") for kind, url in reversed(served) if url.startswith("tcp://")}
    commands = [f"{program} send {urls[kind]} hello" for kind in TRIED if kind in urls][:1]
    commands += [f"{program} status"] * any(kind == ADMIN for kind, _ in served)
    return f"from another terminal: {'; '.join(commands)}" if commands else None


def client_program() -> str:
    """How to call `echoctl` from the working folder: by its name, or by its path if it is not on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "echoctl")
    if shutil.which("echoctl") == beside or not os.path.exists(beside):
        return "echoctl"
    below = os.path.relpath(beside)
    return beside if below.startswith("..") else below
