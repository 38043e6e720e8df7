"""Answers whether certificates of a test authority are revoked: a list (CRL, RFC 5280 5) and responses of OCSP.

One serial number of each authority is revoked: that of the certificate `revoked`. It follows from the authority's key,
so that a list that was written earlier has the serial number of a certificate that is made later. Pure.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import OCSPExtensionOID

from echod.tls.issuing import LEEWAY, Issued

REASON: Final = x509.ReasonFlags.key_compromise


def revoked_serial(issuer: Issued) -> int:
    """The serial number of the revoked certificate of an authority: positive, at most 20 bytes (RFC 5280 4.1.2.2)."""
    public = issuer.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return 1 << 127 | int.from_bytes(hashlib.sha256(b"echod revoked\n" + public).digest()[:15], "big")


def revocation_list(issuer: Issued, now: datetime, until: datetime) -> x509.CertificateRevocationList:
    """The list of an authority. It is valid from LEEWAY before `now` until `until`, aware datetimes."""
    since = now - LEEWAY
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(revoked_serial(issuer))
        .revocation_date(since)
        .add_extension(x509.CRLReason(REASON), critical=False)
        .build()
    )
    return (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(since)
        .next_update(until)
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
        .add_revoked_certificate(entry)
        .sign(issuer.key, SHA256())
    )


def ocsp_response(issuer: Issued, request: bytes, now: datetime, until: datetime) -> bytes:
    """The response to an OCSP request, in DER (RFC 6960): `revoked` for the one serial number, otherwise `unknown`.

    A request that cannot be read gets `malformed_request`; one about another authority gets `unauthorized`.
    """
    try:
        asked = ocsp.load_der_ocsp_request(request)
        serial, algorithm = asked.serial_number, asked.hash_algorithm
        name_hash, key_hash = asked.issuer_name_hash, asked.issuer_key_hash
        nonce = next((one.value for one in asked.extensions if one.oid == OCSPExtensionOID.NONCE), None)
    except (ValueError, x509.DuplicateExtension, NotImplementedError, UnsupportedAlgorithm):
        return _failure(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
    mine = ocsp.OCSPRequestBuilder().add_certificate(issuer.certificate, issuer.certificate, algorithm).build()
    if (name_hash, key_hash) != (mine.issuer_name_hash, mine.issuer_key_hash):
        return _failure(ocsp.OCSPResponseStatus.UNAUTHORIZED)
    is_revoked = serial == revoked_serial(issuer)
    since = now - LEEWAY
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        name_hash,
        key_hash,
        serial,
        algorithm,
        ocsp.OCSPCertStatus.REVOKED if is_revoked else ocsp.OCSPCertStatus.UNKNOWN,
        since,
        until,
        since if is_revoked else None,
        REASON if is_revoked else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
    if nonce is not None:
        builder = builder.add_extension(nonce, critical=False)
    return builder.sign(issuer.key, SHA256()).public_bytes(Encoding.DER)


def _failure(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
