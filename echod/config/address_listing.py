"""Lists the addresses and warnings of a configuration, before any socket is bound."""

from __future__ import annotations

from collections.abc import Iterator

from echod.config.settings import Configuration, ServiceConfig


def listeners(configuration: Configuration) -> Iterator[str]:
    """A line with the service's name for each address, in columns."""
    listening = [(service.name, service.listen) for service in configuration.services]
    listening += [("admin", configuration.admin.listen)] if configuration.admin.listen else []
    width = max(len(name) for name, _ in listening)
    for name, addresses in listening:
        for address in addresses:
            yield f"{name:{width}}  {address}"


def exposed(service: ServiceConfig, address: str, loopback: bool) -> Iterator[str]:
    """Yield a warning if the network can reach an address, but `allow` has only loopback."""
    if not loopback and all(network.is_loopback for network in service.allow):
        yield f"{service.name}  {address} is open to the network, but only loopback is allowed: see allow"


def made_certificates(configuration: Configuration) -> Iterator[str]:
    """A warning for each service whose certificate echod has made."""
    for service in configuration.services:
        contexts = None if service.tls is None else service.tls.contexts
        for certificate in () if contexts is None else contexts.certificates:
            if certificate.made:
                facts = certificate.facts
                if certificate.issuer:
                    yield f"{service.name}  certificate that is wrong on purpose: {certificate.source}"
                    continue
                yield (
                    f"{service.name}  self-signed certificate for {facts.listed}: clients do not trust it"
                    f" (SHA-256 {facts.fingerprint})"
                )


def unused_keys(configuration: Configuration) -> Iterator[str]:
    """A warning for each key that has no effect, because no address uses it.

    `[defaults] proxy-from` needs an address that expects headers of proxies, `[admin] hosts` one over TCP, and `[admin]
    group` a Unix socket. `[admin] listen = []` keeps the other keys on purpose.
    """
    admin = configuration.admin
    if admin.hosts and admin.listen and all(address.has_path for address in admin.listen):
        yield "admin.hosts has no effect: admin.listen has no address such as tcp://127.0.0.1:10090"
    if admin.group and admin.listen and not any(address.has_path for address in admin.listen):
        yield "admin.group has no effect: admin.listen has no address such as unix://%t/admin.sock"
    services = configuration.services
    expected = any("proxy" in address.options for service in services for address in service.listen)
    if not expected and any(service.proxy_from for service in services):
        yield "defaults.proxy-from has no effect: no address has ?proxy=, such as tcp://*:7?proxy=any"


def warnings(configuration: Configuration) -> Iterator[str]:
    """The warnings about addresses that a start would print.

    Inherited sockets and endpoint strings are left out, because their addresses are known only at the start.
    """
    for service in configuration.services:
        for address in service.listen:
            yield from exposed(service, address.label, address.loopback or address.is_passed or address.is_opaque)
    yield from unused_keys(configuration)
