"""echod.tls.revocation: the list and the OCSP responses of a test authority, as cryptography reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import OCSPNonce, ocsp

from echod.tls import issuing
from echod.tls.revocation import ocsp_response, revocation_list, revoked_serial
from echod.tls.wrong_certificates import MAKERS, Order

NOW = datetime.now(UTC).replace(microsecond=0)
UNTIL = NOW + timedelta(days=1)
ROOT = issuing.root(NOW)
REVOKED = MAKERS["revoked"](Order(ROOT, ["echo.example"], NOW, "http://127.0.0.1:1/ca.crl", "http://127.0.0.1:1/o"))


def asked(certificate, issuer=ROOT, algorithm=SHA1, nonce=None):
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer.certificate, algorithm())
    if nonce is not None:
        builder = builder.add_extension(OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def answered(request):
    return ocsp.load_der_ocsp_response(ocsp_response(ROOT, request, NOW, UNTIL))


def test_the_list_has_the_revoked_certificate_and_is_signed():
    crl = revocation_list(ROOT, NOW, UNTIL)
    entry = crl.get_revoked_certificate_by_serial_number(REVOKED.leaf.certificate.serial_number)
    assert entry is not None
    assert (len(crl), crl.next_update_utc) == (1, UNTIL)
    assert crl.is_signature_valid(ROOT.key.public_key())
    right = issuing.server(ROOT, ["echo.example"], NOW).certificate
    assert crl.get_revoked_certificate_by_serial_number(right.serial_number) is None


def test_each_authority_has_its_own_revoked_serial():
    other = issuing.root(NOW)
    assert revoked_serial(ROOT) == revoked_serial(ROOT) != revoked_serial(other)
    assert 0 < revoked_serial(ROOT).bit_length() <= 159


@pytest.mark.parametrize("algorithm", [SHA1, SHA256])
def test_ocsp_says_revoked_with_the_nonce_and_a_signature(algorithm):
    response = answered(asked(REVOKED.leaf.certificate, algorithm=algorithm, nonce=b"12345678"))
    assert response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert response.extensions.get_extension_for_class(OCSPNonce).value.nonce == b"12345678"
    key = ROOT.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(SHA256()))


def test_ocsp_knows_no_other_certificate():
    right = issuing.server(ROOT, ["echo.example"], NOW).certificate
    assert answered(asked(right)).certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    other = issuing.root(NOW)
    assert answered(asked(right, other)).response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    "request_",
    [b"", b"GET /", b"\x30\x00", asked(REVOKED.leaf.certificate)[:-1]],
    ids=["empty", "text", "no-fields", "cut"],
)
def test_ocsp_refuses_what_is_not_a_request(request_):
    assert answered(request_).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
