"""`echoctl reload`: makes the running daemon reload its configuration, and prints the result."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Final

from echod.client.admin import (
    UNPROCESSABLE,
    Administrator,
    NoDaemon,
    RequestRefused,
    Unanswered,
    Unreadable,
    find_admin,
    parsing_response,
)
from echod.client.stdout import fail
from echod.escaping import counted, escaped

EX_CONFIG: Final = 78  #: sysexits(3), as the daemon
MOVED = "or, if [admin] was changed, use kill -HUP, systemctl reload, or --admin OLD-URL"


def run(arguments: argparse.Namespace) -> int:
    """Print the changes and return 0; print configuration errors as `check` does and return 78; otherwise return 1."""
    try:
        address = find_admin(arguments)
        with Administrator(address) as administrator, parsing_response(address):
            result = administrator.ask("/api/reload", "POST")
            opened, closed, changed = (int(result[key]) for key in ("opened", "closed", "changed"))
            changes, notes = ([str(line) for line in result.get(key, ())] for key in ("changes", "notes"))
    except Unreadable:
        from echod.client.commands.check import examined  # it draws a table, and rich is slow to import

        errors = examined(None).errors  # the daemon would report the same errors
        if arguments.json:
            print(json.dumps({"reloaded": False, "errors": errors}))
            return EX_CONFIG
        return _refused(map(escaped, errors))
    except NoDaemon as error:
        fail(f"{error}{'' if str(error).endswith('?') else ';'} {MOVED}")
        return 1
    except Unanswered as error:
        fail(str(error))
        return 1
    except RequestRefused as error:
        if arguments.json and error.status == UNPROCESSABLE:
            print(json.dumps(error.answer))
            return EX_CONFIG
        if not error.errors:
            fail(escaped(str(error)))
            return 1
        return _refused(error.errors)
    if arguments.json:
        print(json.dumps(result))
        return 0
    addresses, services = counted(opened, "address", "addresses"), counted(changed, "service", "services")
    print(f"reloaded: {addresses} opened, {closed} closed, {services} changed")
    for change in changes:
        print(escaped(change))
    for note in notes:
        fail(escaped(note))
    return 0


def _refused(errors: Iterable[str]) -> int:
    for text in errors:
        fail(text)
    fail("the configuration was not changed")
    return EX_CONFIG
