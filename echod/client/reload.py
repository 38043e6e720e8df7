"""`echoctl reload`: have the running daemon read its configuration anew, and wait for the verdict."""

from __future__ import annotations

import argparse
import sys

from echod.client.admin import Administrator, Refused, Unanswered, place, understanding
from echod.client.terminal import fail
from echod.text import escaped

UNPROCESSABLE = 422  #: the configuration is wrong (RFC 9110 15.5.21)
EX_CONFIG = 78  #: sysexits(3), as `check`


def run(arguments: argparse.Namespace) -> int:
    """Print what changed and return 0; or every error as `check` does, and return 78; or why not, and return 1."""
    try:
        address = place(arguments)
        with Administrator(address) as administrator, understanding(address):
            said = administrator.ask("/api/reload", "POST")
            opened, closed, changed = (int(said[key]) for key in ("opened", "closed", "changed"))
            notes = [str(note) for note in said.get("notes", ())]
    except Unanswered as error:
        fail(str(error))
        return 1
    except Refused as error:
        errors = error.answer.get("errors")
        if error.status != UNPROCESSABLE or not isinstance(errors, list):
            fail(escaped(str(error)))
            return 1
        for line in errors:
            print(f"echoctl: {escaped(str(line))}", file=sys.stderr)
        print("echoctl: nothing has changed", file=sys.stderr)
        return EX_CONFIG
    print(f"reloaded: {opened} addresses opened, {closed} closed, {changed} services changed")
    for note in notes:
        print(f"echoctl: {escaped(note)}", file=sys.stderr)
    return 0
