"""`echoctl faults`: prints the faults that a service of the running daemon injects, or changes them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import RenderableType

from echod.client.admin import Administrator, RequestRefused, Unanswered, find_admin, parsing_response
from echod.client.stdout import fail
from echod.client.tables import fitted, line, screen, show
from echod.escaping import escaped, system_error
from echod.faults.keys import KEYS
from echod.small_files import Unsuitable, not_utf8, read_whole

NOT_FOUND: Final = 404  #: no service has the name (RFC 9110 15.5.5)
USAGE: Final = 2  #: the exit code for a key or a value that is wrong
HEADINGS: Final = ("FAULT", "VALUE", "INJECTED")


def run(arguments: argparse.Namespace) -> int:
    """Print the faults and return 0. Return 2 if a key, a value or the script is wrong, and 1 after another error."""
    console = screen(arguments.color)
    try:
        body = request(arguments)
    except ValueError as error:
        fail(escaped(str(error)))
        return 1
    try:
        address = find_admin(arguments)
        with Administrator(address) as administrator, parsing_response(address):
            path = f"/api/faults/{arguments.service}"
            answer = administrator.ask(path) if body is None else administrator.ask(path, "POST", body)
            drawn = list(page(answer, console.width))
    except Unanswered as error:
        fail(str(error))
        return 1
    except RequestRefused as error:
        if error.status == NOT_FOUND:
            fail(f"the daemon has no service {escaped(arguments.service)}; echoctl status lists them")
            return 1
        for text in error.errors or [escaped(str(error))]:
            fail(text)
        if not error.errors:
            return 1
        fail("the faults were not changed")
        return USAGE
    if arguments.json:
        print(json.dumps(answer))
    else:
        for part in drawn:
            show(console, part)
    return 0


def request(arguments: argparse.Namespace) -> bytes | None:
    """The body of the change that the arguments ask for; None to read only. Raises ValueError for a wrong file."""
    change: dict[str, Any] = {}
    if arguments.changes:
        change["set"] = dict(arguments.changes)
    if arguments.clear:
        change["clear"] = True
    if arguments.script is not None:
        try:
            change["script"] = read_whole(arguments.script, own=True).decode("utf-8")
        except OSError as error:
            raise ValueError(f"{arguments.script}: {system_error(error)}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{arguments.script}:{': '.join(map(str, not_utf8(error)))}") from None
        except Unsuitable as error:
            raise ValueError(f"{arguments.script}: {error}") from None
    return json.dumps(change).encode() if change else None


def page(answer: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    """The faults as lines and a table for a terminal of `width` columns."""
    faults, injected = answer["faults"], answer["injected"]
    rows = [
        (key, str(faults.get(key, "")), f"{injected[key]:,}" if key in injected else "")
        for key in (*(key for key in KEYS if key in faults or key in injected), *sorted(set(injected) - set(KEYS)))
    ]
    if not faults:
        yield line(f"{answer['service']} injects no faults")
    if rows:
        yield fitted(HEADINGS, rows, width)
    if faults:
        if answer["seed"] is not None and "seed" not in faults:
            yield line(f"seed {answer['seed']:d}, chosen at random")
        if script := answer["script"]:
            now = ", ".join(f"{key} = {value}" for key, value in answer["current"].items()) or "no faults"
            ended = script["step"] > script["steps"]
            yield line("the script has ended" if ended else f"step {script['step']:d} of {script['steps']:d}: {now}")
        for address, known in answer["addresses"].items():
            if absent := [key for key in faults if key not in known]:
                yield line(f"not on {address}: {', '.join(absent)}")
