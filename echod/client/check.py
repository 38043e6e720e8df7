"""`echoctl check`: the configuration as the daemon would read it, or everything that is wrong with it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from echod.config.fault import ConfigurationError
from echod.config.listeners import listeners
from echod.config.loading import load
from echod.services.registry import UnusableKind, kinds
from echod.text import escaped

EX_CONFIG: Final = 78  #: sysexits(3), as the daemon


def run(arguments: argparse.Namespace) -> int:
    """Print the listeners and return 0, or every error and return 78."""
    try:
        configuration = load(Path(arguments.file) if arguments.file else None, kinds(), os.environ)
    except ConfigurationError as error:
        wrong = [str(fault) for fault in error.faults]
    except UnusableKind as error:
        wrong = [escaped(str(error))]
    else:
        for line in listeners(configuration):
            print(line)
        return 0
    for line in wrong:
        print(f"echoctl: {line}", file=sys.stderr)
    return EX_CONFIG
