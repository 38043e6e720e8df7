"""Revocation: tells clients over HTTP whether certificates of a test authority are revoked, by a CRL and by OCSP.

It belongs to `certificate = "revoked"` of another service. RFC 5280 section 5 and RFC 6960 have the formats.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from echod.http.messages import TEXT, Answer, Request, Respond, error_answer
from echod.model import Peer, Say, Service, Session

if TYPE_CHECKING:
    from echod.tls.issuing import Issued

VALID: Final = timedelta(days=7)  #: of a CRL and of a response
OCSP: Final = "/ocsp"
_GUIDE: Final = b"GET /ca.pem   the authority\nGET /ca.crl   its CRL\nPOST /ocsp    OCSP; also GET /ocsp/BASE64\n"


@dataclass(frozen=True)
class RevocationOptions:
    """The keys of a revocation service."""

    test_ca: Path | None = field(
        default=None, metadata={"help": "the authority, in PEM; by default the one that the daemon makes at its start"}
    )
    test_ca_key: Path | None = field(
        default=None, metadata={"help": "its private key; by default it is in the file of test-ca"}
    )


class Revocation(Service):
    """Answers requests for the certificate of the authority, for its CRL, and for the state of one certificate."""

    kind = "revocation"
    summary = "answers whether a test certificate is revoked (CRL, OCSP)"
    Options = RevocationOptions
    streams = messages = datagrams = False
    requests = True

    @classmethod
    def configuration_errors(cls, options: RevocationOptions) -> Iterable[tuple[str, str]]:
        from echod.tls.certificates import CertificateError, KeyFileError

        try:
            _authority(options)
        except KeyFileError as error:
            yield "test_ca_key", str(error)
        except CertificateError as error:
            yield "test_ca", str(error)

    def __init__(self, options: Any = None, context: Any = None) -> None:
        super().__init__(options, context)
        self._issuer: Issued | None = None

    @property
    def issuer(self) -> Issued:
        """The authority with its key; it is read once, at the first request at the latest."""
        if self._issuer is None:
            self._issuer = _authority(self.options)
        return self._issuer

    def session(self, peer: Peer, say: Say) -> Session:
        from echod.http.session import HTTPSession

        return HTTPSession(peer, say, self._respond, self.context.clock, self.context.work)

    def _respond(self, request: Request, respond: Respond) -> None:
        respond(self.response(request.method, request.path, request.body))

    def response(self, method: str, path: str, body: bytes = b"") -> Answer:
        """The response to a request."""
        if path == OCSP or path.startswith(f"{OCSP}/"):
            return self._ocsp(method, path.removeprefix(OCSP).removeprefix("/"), body)
        made = {"/": self._guide, "/ca.pem": self._certificate, "/ca.crl": self._list}.get(path)
        if made is None:
            return error_answer(404, "this resource does not exist; expected /ca.pem, /ca.crl or /ocsp")
        if method not in ("GET", "HEAD"):
            return error_answer(405, "the method is not allowed; expected GET", ("allow", "GET, HEAD"))
        return made()

    def _guide(self) -> Answer:
        return Answer(200, _GUIDE, TEXT)

    def _certificate(self) -> Answer:
        return Answer(200, self.issuer.certificate_pem, "application/x-pem-file")

    def _list(self) -> Answer:
        from cryptography.hazmat.primitives.serialization import Encoding

        from echod.tls.revocation import revocation_list

        now = self._now()
        crl = revocation_list(self.issuer, now, now + VALID)
        return Answer(200, crl.public_bytes(Encoding.DER), "application/pkix-crl")

    def _ocsp(self, method: str, written: str, body: bytes) -> Answer:
        """Answer a request in the body of POST, or in the path of GET in base64 (RFC 6960 A.1)."""
        from echod.tls.revocation import ocsp_response

        if method == "GET" and written:
            try:
                body = base64.b64decode(unquote(written), validate=True)
            except (binascii.Error, ValueError):
                body = b""  # the response says that it is malformed
        elif method != "POST" or written:
            return error_answer(405, "the method is not allowed; expected POST, or GET /ocsp/BASE64", ("allow", "POST"))
        now = self._now()
        return Answer(200, ocsp_response(self.issuer, body, now, now + VALID), "application/ocsp-response")

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.context.wall_clock(), UTC)


def _authority(options: RevocationOptions) -> Issued:
    """The authority of the options. Raises CertificateError."""
    from echod.tls.certificates import read_test_authority, test_authority

    if options.test_ca is None:
        return test_authority()
    return read_test_authority(options.test_ca, options.test_ca_key)
