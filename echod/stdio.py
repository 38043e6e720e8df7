"""The standard streams, as every program of ours expects them: open.

Standard library only, and nothing of echod.
"""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Open what our parent closed of descriptors 0 to 2, or the first socket would be taken for our output."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
