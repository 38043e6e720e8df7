"""What a configuration serves, a line for each address: for eyes, before anything is bound."""

from __future__ import annotations

from collections.abc import Iterator

from echod.config.schema import Configuration


def listeners(configuration: Configuration) -> Iterator[str]:
    """Each service's name and address, in columns."""
    width = max(len(service.name) for service in configuration.services)
    for service in configuration.services:
        for address in service.listen:
            yield f"{service.name:{width}}  {address}"
