"""Files that a measurement writes at its end. They are opened before it begins, so that an error costs no result."""

from __future__ import annotations

import os
from typing import IO, Final

from echod.client.stdout import fail
from echod.escaping import escaped, system_error

# O_NONBLOCK: a FIFO without a reader is an error (ENXIO) instead of a wait that no signal ends.
FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK


class ResultFile:
    """A file that is opened now, and written once. Raises OSError."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream: IO[bytes] = os.fdopen(os.open(name, FLAGS, 0o666), "wb")
        os.set_blocking(self._stream.fileno(), True)

    def write(self, content: bytes) -> bool:
        """Write and close the file. Reports an error, and then returns False."""
        try:
            with self._stream as stream:
                stream.write(content)
        except OSError as error:
            fail(f"{escaped(self._name)}: {system_error(error)}")
            return False
        return True


def open_result(name: str | None) -> ResultFile | None:
    """The file of an option, or None if the option is not given. Reports an error, and raises it again: OSError."""
    try:
        return None if name is None else ResultFile(name)
    except OSError as error:
        fail(f"{escaped(str(name))}: {system_error(error)}")
        raise
