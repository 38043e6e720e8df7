"""The TLS settings of a connection, from the options of the command line, and the client's layer."""

from __future__ import annotations

import argparse
import ssl
from functools import partial
from typing import Any, Final

from echod.address import Address
from echod.client.tls_events import Events
from echod.escaping import escaped
from echod.stdio import report
from echod.tls.transcript import ObservedTLS, Tell, silent
from echod.tls.verification import Expectations, client_context, explained, server_name, verify_name
from echod.transports.layers.layer_interface import Build, MakeLayer, ProtocolError, StreamTransport
from echod.transports.layers.tls import TlsLayer

HANDSHAKE: Final = 10.0  #: seconds, as a server's default


def expectations_of(arguments: argparse.Namespace) -> Expectations:
    """The identity that the command line expects of the server, and our own."""
    return Expectations(
        host=arguments.server_name or arguments.url.host,
        ca=arguments.ca or "",
        certificate=arguments.cert or "",
        key=arguments.key or "",
        alpn=arguments.alpn,
        verified=not arguments.insecure,
    )


def context_of(arguments: argparse.Namespace, expected: Expectations, tell: Tell = silent) -> ssl.SSLContext:
    """A context for the connections of a command; prints the warning of `--insecure`. Raises ValueError."""
    context = client_context(expected, tell)
    if not expected.verified:
        report(f"echoctl: {escaped(arguments.url.label)}: --insecure: the certificate of the server is not verified")
    return context


def configure(_address: Address, arguments: argparse.Namespace, reactor: Any) -> MakeLayer:
    """The layer of a client's connection, with the options of the command line. Raises ValueError."""
    expected = expectations_of(arguments)
    name = server_name(expected.host)
    events = Events(expected, lambda line: report(f"* {line}")) if getattr(arguments, "verbose", False) else None
    context = context_of(arguments, expected, silent if events is None else events.tell)
    return partial(_made, reactor, context, name, expected, events)


def _made(
    reactor: Any, context: ssl.SSLContext, name: str | None, expected: Expectations, events: Events | None, build: Build
) -> ClientTls:
    return ClientTls(build, reactor, context, name, expected, events)


class ClientTls(TlsLayer):
    """TLS of a client: verifies the server, and explains each error."""

    __slots__ = ("_events", "_expected")

    def __init__(
        self,
        build: Build,
        clock: Any,
        context: ssl.SSLContext,
        name: str | None,
        expected: Expectations,
        events: Events | None = None,
    ) -> None:
        super().__init__(build, clock, HANDSHAKE, context, server_hostname=name, verify=self._verified)
        self._expected, self._events = expected, events

    def begin(self, below: StreamTransport) -> None:
        if self._events is not None:
            self._events.connected(str(below.facts.remote))
        super().begin(below)

    def explained(self, error: ssl.SSLError) -> str:
        assert self._engine is not None
        tls = self._engine.tls
        assert isinstance(tls, ObservedTLS)
        return explained(error, tls.transcript, self._expected)

    def _verified(self, tls: ssl.SSLObject) -> None:
        """Check the name of the server, after OpenSSL has verified the rest. Raises ProtocolError."""
        if self._events is not None:
            self._events.complete(tls)
        if self._expected.verified:
            wrong = verify_name(tls.getpeercert(binary_form=True) or b"", self._expected.host)
            if wrong is not None:
                raise ProtocolError(wrong)
        if self._events is not None:
            self._events.verified()
