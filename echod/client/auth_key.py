"""The key of `--auth-key`."""

from __future__ import annotations

import argparse
from pathlib import Path

from echod.client.stdout import fail
from echod.escaping import escaped
from echod.services.reflector import WrongKey, read_key


def read_auth_key(arguments: argparse.Namespace) -> bool:
    """Read the key into `hmac_key`: None without a file. Returns False, after a message, if it cannot be used."""
    arguments.hmac_key = None
    try:
        if arguments.auth_key is not None:
            arguments.hmac_key = read_key(Path(arguments.auth_key))
    except (WrongKey, ValueError) as error:  # ValueError: the name contains a NUL
        fail(f"{escaped(arguments.auth_key)}: {error}")
        return False
    return True
