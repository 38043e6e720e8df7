"""Connecting to Redis or Valkey: by TCP, or by TLS with verification of the certificate and the name."""

from __future__ import annotations

import re
from typing import Any, Final

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory

from echod.bus.redis_broker import CONNECTED, Connect

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class UnusableTls(Exception):
    """TLS cannot be used; the message gives the reason."""


def connector(reactor: Any, host: str, port: int, *, tls: bool, ca: bytes | None) -> Connect:
    """Makes connections. `ca` has the certificates that are trusted in PEM; None: those of the system.

    Raises UnusableTls.
    """
    endpoint: Any = HostnameEndpoint(reactor, host, port, timeout=CONNECTED)
    if tls:
        endpoint = _tls(endpoint, host, ca)

    def connect(factory: Factory) -> Any:
        return endpoint.connect(factory)

    return connect


def _tls(endpoint: Any, host: str, ca: bytes | None) -> Any:
    try:
        from twisted.internet.endpoints import wrapClientTLS
        from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
    except ImportError:
        raise UnusableTls("rediss:// needs pyOpenSSL: pip install pyopenssl") from None
    more: dict[str, Any] = {}
    if ca is not None:
        try:
            trusted = [Certificate.loadPEM(found) for found in _CERTIFICATE.findall(ca)]
        except Exception as error:  # OpenSSL.crypto.Error, whose text is a list of codes
            raise UnusableTls("ca: a certificate in the file is damaged") from error
        if not trusted:
            raise UnusableTls("ca: the file has no certificate")
        more["trustRoot"] = trustRootFromCertificates(trusted)
    return wrapClientTLS(optionsForClientTLS(host, **more), endpoint)
