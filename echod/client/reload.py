"""`echoctl reload`: have the running daemon read its configuration anew, and wait for the verdict."""

from __future__ import annotations

import argparse
from typing import Final

from echod.client.admin import Administrator, Nobody, Refused, Unanswered, Unreadable, place, understanding
from echod.client.stdout import fail
from echod.text import counted, escaped

EX_CONFIG: Final = 78  #: sysexits(3), as the daemon
UNPROCESSABLE = 422  #: the configuration is wrong (RFC 9110 15.5.21)
MOVED = "or, if [admin] was changed: kill -HUP, systemctl reload, or --admin OLD-URL"


def run(arguments: argparse.Namespace) -> int:
    """Print what changed and return 0; or every error as `check` does, and return 78; or why not, and return 1."""
    try:
        address = place(arguments)
        with Administrator(address) as administrator, understanding(address):
            said = administrator.ask("/api/reload", "POST")
            opened, closed, changed = (int(said[key]) for key in ("opened", "closed", "changed"))
            changes, notes = ([str(line) for line in said.get(key, ())] for key in ("changes", "notes"))
    except Unreadable:
        from echod.client import check  # it draws a table, and rich takes long to import

        check.run(argparse.Namespace(file=None, color="auto"))  # the daemon would say no other
        fail("nothing has changed")
        return EX_CONFIG
    except Nobody as error:
        fail(f"{error}{'' if str(error).endswith('?') else ';'} {MOVED}")
        return 1
    except Unanswered as error:
        fail(str(error))
        return 1
    except Refused as error:
        errors = error.answer.get("errors")
        if error.status != UNPROCESSABLE or not isinstance(errors, list):
            fail(escaped(str(error)))
            return 1
        for line in errors:
            fail(escaped(str(line)))
        fail("nothing has changed")
        return EX_CONFIG
    addresses, services = counted(opened, "address", "addresses"), counted(changed, "service", "services")
    print(f"reloaded: {addresses} opened, {closed} closed, {services} changed")
    for change in changes:
        print(escaped(change))
    for note in notes:
        fail(escaped(note))
    return 0
