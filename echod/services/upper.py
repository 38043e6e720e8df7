"""Upper: as echo, with ASCII letters in upper case."""

from __future__ import annotations

from echod.model import Service


class Upper(Service):
    """`bytes.upper` and not Unicode's: the answer is never longer than the question (some letters would grow to
    three times their bytes), it does not depend on a locale, and no chunking can split a letter."""

    kind = "upper"
    summary = "sends everything back with ASCII letters in upper case"
    transform = staticmethod(bytes.upper)
