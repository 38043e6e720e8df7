"""The faults of a service as a resource of the admin interface: they are read and changed while the daemon runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from echod.http.messages import Handler, Request, Respond, error_answer, of_json

FAULTS: Final = "/api/faults/"  #: followed by the name of the service
_MEMBERS: Final = {"set": (dict, "an object"), "clear": (bool, "true or false"), "script": (str, "a text")}


@dataclass(frozen=True)
class FaultChange:
    """A change of the faults of a service: first `clear`, then `set`, then the script."""

    set: Mapping[str, Any] = field(default_factory=dict)  #: values by key, as in TOML or as text
    clear: bool = False  #: whether all other faults end
    script: str | None = None  #: TOML


class ServiceFaults(Protocol):
    """The faults of one service."""

    def gather(self, done: Callable[[], None]) -> None:
        """Make the counts of all processes exact, and call `done`."""

    def described(self) -> Mapping[str, Any]:
        """The response to GET."""

    def change(self, change: FaultChange, done: Callable[[Sequence[str]], None]) -> None:
        """Change them; `done` is called with the errors. After an error nothing has changed."""


def fault_handlers(faults: ServiceFaults | None) -> Mapping[str, Handler] | None:
    """The handlers of the faults of a service, or None if the service does not exist."""
    if faults is None:
        return None

    def read(_request: Request, respond: Respond) -> None:
        faults.gather(lambda: respond(of_json(faults.described())))

    def change(request: Request, respond: Respond) -> None:
        try:
            wanted = change_of(request.body)
        except ValueError as error:
            respond(error_answer(400, str(error)))
            return

        def done(errors: Sequence[str]) -> None:
            if errors:
                respond(of_json({"errors": list(errors)}, 422))
            else:
                faults.gather(lambda: respond(of_json(faults.described())))

        faults.change(wanted, done)

    return {"GET": read, "POST": change}


def change_of(body: bytes) -> FaultChange:
    """The change that the body of a request asks for. Raises ValueError with one line."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise ValueError('expected a JSON object such as {"set": {"delay": "200ms"}}')
    for name, value in members.items():
        if name not in _MEMBERS:
            raise ValueError("unknown member; expected set, clear or script")
        kind, expected = _MEMBERS[name]
        if not isinstance(value, kind):
            raise ValueError(f"{name} must be {expected}")
    return FaultChange(**members)
