"""Upper: like echo, with ASCII letters in upper case."""

from __future__ import annotations

from echod.model import Service


class Upper(Service):
    """Uses `bytes.upper`, not Unicode. So the reply has the length of the request (some letters would take three times
    their bytes), does not depend on the locale, and a chunk boundary cannot split a letter."""

    kind = "upper"
    summary = "sends everything back with ASCII letters in upper case"
    transform = staticmethod(bytes.upper)
