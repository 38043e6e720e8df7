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
from echod.small_files import Unsuitable, read_whole

PACKAGES: Final = "/usr/local/lib/echod"  #: where the Debian package finds further Python packages
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class UnusableTls(Exception):
    """TLS cannot be used: `key` is the configuration key, and the message is the reason."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        super().__init__(reason)


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
    pem = None if ca is None else _read(ca)
    if not tls:
        return None
    try:
        from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
    except ImportError:
        where = f"--no-deps --target {PACKAGES} " if PACKAGES in sys.path else ""
        raise UnusableTls("bus.url", f"rediss:// needs pyOpenSSL: pip install {where}pyopenssl") from None
    more: dict[str, Any] = {}
    if pem is not None:
        try:
            trusted = [Certificate.loadPEM(found) for found in _CERTIFICATE.findall(pem)]
        except Exception as error:  # OpenSSL.crypto.Error, whose text is a list of codes
            raise UnusableTls("bus.ca", f"{escaped(str(ca))}: a certificate in the file is damaged") from error
        if not trusted:
            raise UnusableTls("bus.ca", f"{escaped(str(ca))}: the file has no certificate in PEM form")
        more["trustRoot"] = trustRootFromCertificates(trusted)
    return optionsForClientTLS(host, **more)


def _read(ca: Path) -> bytes:
    try:
        return read_whole(ca)
    except OSError as error:
        raise UnusableTls("bus.ca", f"{escaped(str(ca))}: {system_error(error)}") from error
    except Unsuitable as error:
        raise UnusableTls("bus.ca", f"{escaped(str(ca))}: {error}") from error
