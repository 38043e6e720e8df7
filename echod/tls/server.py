"""The TLS contexts of a service: one for each certificate, chosen by the name that the client asks for (SNI)."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from echod.escaping import escaped
from echod.tls.certificates import Certificate, CertificateError
from echod.tls.client_hello import ClientHello, client_hello
from echod.tls.profiles import (
    DEFAULT_GROUP,
    GROUPS,
    ONE_GROUP,
    Profile,
    allow_old_versions,
    allow_weak_keys,
    apply,
    is_negotiated,
)


class ServerContexts:
    """The contexts of one service, the default one first. They are never changed: a reload makes others.

    `authorities` are the certificates, as PEM, that sign certificates of clients; "" asks for none. A client is
    refused without one if `required`. `alpn` are the protocols of the service, the preferred one first. `newest` is
    the newest version of TLS for a server that misbehaves on purpose, and replaces those of the profile.
    Raises CertificateError.
    """

    def __init__(
        self,
        certificates: Sequence[Certificate],
        profile: Profile = "intermediate",
        alpn: Sequence[str] = (),
        authorities: str = "",
        *,
        required: bool = False,
        newest: int | None = None,
    ) -> None:
        self.certificates = tuple(certificates)
        self._limited: dict[int, ServerContexts] = {}
        self._arguments = (self.certificates, profile, tuple(alpn), authorities, required)
        self._by_name: dict[str, ssl.SSLContext] = {}
        contexts = []
        for certificate in certificates:
            context = _context(certificate, profile, alpn, authorities, required=required)
            if newest is not None:
                allow_old_versions(context, newest)
            contexts.append(context)
            for name in certificate.facts.names:
                self._by_name.setdefault(name.lower(), context)
        self.default = contexts[0]
        self._by_group = {DEFAULT_GROUP: self.default}
        # The context that a server name selects later does not change the group. In TLS 1.2, OpenSSL refuses keys of
        # client certificates that are not of the group.
        if ONE_GROUP and not authorities and newest is None:
            for group in GROUPS.keys() - {DEFAULT_GROUP}:
                context = _context(certificates[0], profile, alpn, authorities, required=required, group=group)
                self._by_group[group] = context
        for context in self._by_group.values():
            context.sni_callback = self._choose

    def context_for_hello(self, record: bytes) -> ssl.SSLContext:
        """The context with which a handshake begins; `record` is the first one of the client.

        A client with a key of the context's group needs one round trip less.
        """
        hello = client_hello(record) or ClientHello()
        for group in hello.exchange_groups:
            if group in self._by_group and is_negotiated(group, hello):
                return self._by_group[group]
        return self.default

    def up_to(self, newest: int) -> ServerContexts:
        """The same contexts for a server that knows no newer version of TLS, on purpose, such as 0x0302 for TLS 1.1."""
        if newest not in self._limited:
            certificates, profile, alpn, authorities, required = self._arguments
            self._limited[newest] = ServerContexts(
                certificates, profile, alpn, authorities, required=required, newest=newest
            )
        return self._limited[newest]

    def __reduce__(self) -> Any:
        """Contexts cannot be pickled: the other process makes its own from the same certificates and keys."""
        return _again, self._arguments

    def context_for(self, name: str | None) -> ssl.SSLContext:
        """The context for a name that a client asked for: that of the name, of its wildcard, or the default one."""
        if name is None:
            return self.default
        name = name.lower().rstrip(".")
        return self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2]) or self.default

    def _choose(self, connection: Any, name: str | None, _context: ssl.SSLContext) -> None:
        connection.asked = name  # a server's SSLObject does not report it later
        connection.context = self.context_for(name)


def _again(
    certificates: Sequence[Certificate], profile: Profile, alpn: Sequence[str], authorities: str, required: bool
) -> ServerContexts:
    return ServerContexts(certificates, profile, alpn, authorities, required=required)


@contextmanager
def names_may_be_wrong() -> Iterator[None]:
    """Within it, `ssl` does not print a traceback for a server name that is not ASCII: a client could flood the log.

    The handshake fails in any case, with the reason CALLBACK_FAILED.
    """
    previous = sys.unraisablehook

    def report(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            previous(unraisable)

    sys.unraisablehook = report
    try:
        yield
    finally:
        sys.unraisablehook = previous


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path that reads as `content`: `ssl` loads keys from files only, and these bytes are checked already."""
    opened = os.memfd_create("echod-key", os.MFD_CLOEXEC)
    try:
        with open(opened, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)


def _context(
    certificate: Certificate,
    profile: Profile,
    alpn: Sequence[str],
    authorities: str,
    *,
    required: bool,
    group: int = DEFAULT_GROUP,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    apply(context, profile, group)
    try:
        if certificate.issuer:
            allow_weak_keys(context)
        with _as_file(certificate.pem) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, OSError) as error:
        reason = (getattr(error, "reason", None) or str(error)).lower().replace("_", " ")
        raise CertificateError(f"{escaped(certificate.source)}: the certificate cannot be used: {reason}") from error
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if authorities:
        try:
            context.load_verify_locations(cadata=authorities)
        except ssl.SSLError as error:
            raise CertificateError(f"the certificates of client-ca cannot be used: {error.reason}") from error
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context
