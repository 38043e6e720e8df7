"""Handshakes in memory, between two contexts."""

from __future__ import annotations

import ssl
from pathlib import Path

from echod.tls.issuing import Issued
from echod.tls.transcript import ObservedTLS


def server_context(folder: Path, *chain: Issued, client_ca: Issued | None = None) -> ssl.SSLContext:
    """The context of a server that presents `chain`, its own certificate first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = folder / "server.pem"
    file.write_bytes(chain[0].key_pem + b"".join(issued.certificate_pem for issued in chain))
    context.load_cert_chain(file)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.certificate_pem.decode())
    return context


def shake(
    asking: ssl.SSLContext, serving: ssl.SSLContext, name: str | None
) -> tuple[ssl.SSLObject, ssl.SSLError | None]:
    """A handshake, and a read by the client after it. Returns the client's object, and its error."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname=name)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    broken = False
    for _ in range(8):
        try:
            client.do_handshake()
            client.read(1)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            return client, error
        try:
            if not broken:
                server.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            broken = True  # its alert is on the way
    return client, None


def observed(tls: ssl.SSLObject) -> ObservedTLS:
    """The object of a context that records its messages."""
    assert isinstance(tls, ObservedTLS)
    return tls
