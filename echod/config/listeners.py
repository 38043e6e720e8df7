"""What a configuration serves, a line for each address: for eyes, before anything is bound."""

from __future__ import annotations

from collections.abc import Iterator

from echod.config.schema import Configuration


def listeners(configuration: Configuration) -> Iterator[str]:
    """Each service's name and address, in columns."""
    listening = [(service.name, service.listen) for service in configuration.services]
    listening += [("admin", configuration.admin.listen)] if configuration.admin.listen else []
    width = max(len(name) for name, _ in listening)
    for name, addresses in listening:
        for address in addresses:
            yield f"{name:{width}}  {address}"
