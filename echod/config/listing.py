"""What a configuration serves, a line for each address: for eyes, before anything is bound."""

from __future__ import annotations

from collections.abc import Iterator

from echod.config.settings import Configuration, ServiceConfig


def listeners(configuration: Configuration) -> Iterator[str]:
    """Each service's name and address, in columns."""
    listening = [(service.name, service.listen) for service in configuration.services]
    listening += [("admin", configuration.admin.listen)] if configuration.admin.listen else []
    width = max(len(name) for name, _ in listening)
    for name, addresses in listening:
        for address in addresses:
            yield f"{name:{width}}  {address}"


def exposed(service: ServiceConfig, place: str, loopback: bool) -> Iterator[str]:
    """The warning about an address that the network reaches while only loopback is allowed to use it, if it is one."""
    if not loopback and all(network.is_loopback for network in service.allow):
        yield f"{service.name}  {place} is open to the network, and only loopback is allowed: see allow"


def warnings(configuration: Configuration) -> Iterator[str]:
    """The warnings about addresses that a start would print. An address that the daemon is passed, or that only
    Twisted knows, is known at the start alone."""
    for service in configuration.services:
        for address in service.listen:
            yield from exposed(service, address.place, address.loopback or address.is_passed or address.is_opaque)
