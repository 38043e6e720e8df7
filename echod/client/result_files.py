"""Files that a measurement writes at its end. They are opened before it begins, so that an error costs no result."""

from __future__ import annotations

from typing import IO

from echod.client.stdout import fail
from echod.escaping import escaped, system_error


class ResultFile:
    """A file that is opened now, and written once. Raises OSError."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream: IO[bytes] = open(name, "wb")  # noqa: SIM115 - written at the end

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
