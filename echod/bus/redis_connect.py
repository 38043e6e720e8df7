"""Connecting to Redis or Valkey: by TCP, or by TLS with verification of the certificate and the name."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory

from echod.bus.redis_broker import CONNECTED, Connect
from echod.escaping import escaped, system_error

PACKAGES: Final = "/usr/local/lib/echod"  #: where the Debian package finds further Python packages
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class UnusableTls(Exception):
    """TLS cannot be used; the message gives the key and the reason."""


def connector(reactor: Any, host: str, port: int, options: Any) -> Connect:
    """Makes connections. `options` are those of `tls_options`."""
    endpoint: Any = HostnameEndpoint(reactor, host, port, timeout=CONNECTED)
    if options is not None:
        endpoint = wrapClientTLS(options, endpoint)

    def connect(factory: Factory) -> Any:
        return endpoint.connect(factory)

    return connect


def tls_options(host: str, *, tls: bool, ca: Path | None) -> Any:
    """The options of TLS for this host, or None without `tls`. Raises UnusableTls.

    `ca` is a file with the certificates that are trusted, in PEM; None: those of the system.
    """
    try:
        pem = None if ca is None else ca.read_bytes()
    except OSError as error:
        raise UnusableTls(f"bus.ca: {escaped(str(ca))}: {system_error(error)}") from error
    if not tls:
        return None
    try:
        from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
    except ImportError:
        where = f"--no-deps --target {PACKAGES} " if PACKAGES in sys.path else ""
        raise UnusableTls(f"bus: rediss:// needs pyOpenSSL: pip install {where}pyopenssl") from None
    more: dict[str, Any] = {}
    if pem is not None:
        try:
            trusted = [Certificate.loadPEM(found) for found in _CERTIFICATE.findall(pem)]
        except Exception as error:  # OpenSSL.crypto.Error, whose text is a list of codes
            raise UnusableTls(f"bus.ca: {escaped(str(ca))}: a certificate in the file is damaged") from error
        if not trusted:
            raise UnusableTls(f"bus.ca: {escaped(str(ca))}: the file has no certificate in PEM form")
        more["trustRoot"] = trustRootFromCertificates(trusted)
    return optionsForClientTLS(host, **more)
