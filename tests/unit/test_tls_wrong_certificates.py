"""echod.tls.wrong_certificates: each fails for its one reason, in Python's ssl and in echoctl's words."""

from __future__ import annotations

import pickle
import re
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from echod.config.schema import WRONG_CERTIFICATES
from echod.config.settings import SELF_SIGNED
from echod.tls import issuing, wrong_certificates
from echod.tls.certificates import CertificateError, read_test_authority, wrong
from echod.tls.revocation import revocation_list
from echod.tls.server import ServerContexts
from echod.tls.verification import Expectations, client_context, explained, verify_name
from echod.tls.wrong_certificates import MAKERS, WRONG_HOST, may_issue
from tests.daemon import TOP
from tests.handshakes import observed, shake

NOW = datetime.now(UTC)
ROOT = issuing.root(NOW)
HOST = "echo.example"

WORDS = {
    "expired": "certificate expired: CN=echo.example was valid until ",
    "not-yet-valid": "certificate not yet valid: CN=echo.example is valid from ",
    "wrong-host": f"wrong certificate name: presented {WRONG_HOST}, expected echo.example;",
    "self-signed": "certificate not trusted: CN=echo.example is self-signed, expected an issuer in ",
    "untrusted": "certificate not trusted: CN=echo.example is issued by CN=echod untrusted CA (2 certificates",
    "incomplete-chain": "certificate not trusted: CN=echo.example is issued by CN=echod test intermediate 1, expected",
    "reversed-chain": None,  # OpenSSL sorts it
    "revoked": "certificate revoked: CN=echo.example is in the CRL of its issuer CN=echod test CA;",
    "weak-key": "certificate refused: CN=echo.example: EE certificate key too weak;",
    "wrong-purpose": "wrong certificate purpose: CN=echo.example is for TLS clients, expected TLS servers;",
    "many-names": None,  # it only takes more time and memory
    "huge-chain": "certificate chain too large: the server presents more than OpenSSL accepts",
}
CODES = {
    "expired": 10,
    "not-yet-valid": 9,
    "self-signed": 18,
    "untrusted": 19,
    "incomplete-chain": 20,
    "revoked": 23,
    "weak-key": 66,
    "wrong-purpose": 26,
}
"""OpenSSL's verification errors (<openssl/x509_vfy.h>)."""


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    """A file with the authority, and one with its CRL, too."""
    folder = tmp_path_factory.mktemp("trust")
    crl = revocation_list(ROOT, NOW, NOW + timedelta(days=1)).public_bytes(Encoding.PEM)
    (folder / "ca.pem").write_bytes(ROOT.certificate_pem)
    (folder / "with-crl.pem").write_bytes(ROOT.certificate_pem + crl)
    return folder


def served(word: str) -> ssl.SSLContext:
    """The context of a daemon with this certificate."""
    return ServerContexts([wrong(word, (HOST, "127.0.0.1"), ROOT)]).default


def test_the_words_are_those_of_the_configuration():
    assert {*MAKERS} == {*WORDS} == {*WRONG_CERTIFICATES, SELF_SIGNED}


@pytest.mark.parametrize("word", WORDS)
def test_echoctl_reports_the_one_reason(trust, word):
    expected = Expectations(HOST, str(trust / ("with-crl.pem" if word == "revoked" else "ca.pem")))
    tls, error = shake(client_context(expected), served(word), HOST)
    if error is None:
        said = verify_name(tls.getpeercert(binary_form=True) or b"", HOST)
    else:
        said = explained(error, observed(tls).transcript, expected, NOW)
    start = WORDS[word]
    assert said is None if start is None else said is not None and said.startswith(start)


@pytest.mark.parametrize("word", WORDS)
def test_pythons_ssl_reports_the_one_reason(trust, word):
    context = ssl.create_default_context(cafile=trust / "with-crl.pem")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF if word == "revoked" else ssl.VerifyFlags(0)
    _, error = shake(context, served(word), HOST)
    if word in CODES:
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert error.verify_code == CODES[word]
    elif word == "wrong-host":
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert "Hostname mismatch" in str(error)
    elif word == "huge-chain":
        assert getattr(error, "reason", None) == "EXCESSIVE_MESSAGE_SIZE"
    else:
        assert error is None


@pytest.mark.parametrize("word", ["expired", "not-yet-valid"])
def test_at_another_time_it_is_right(trust, word):
    """A right time shows that the chain, the name and the purpose have no fault."""
    away = -timedelta(days=15) if word == "expired" else wrong_certificates.AWAY
    order = wrong_certificates.Order(ROOT, (HOST,), NOW - away)
    chain = MAKERS[word](order)
    leaf = chain.leaf.certificate
    assert (leaf.not_valid_before_utc <= NOW <= leaf.not_valid_after_utc, len(chain.others)) == (True, 0)


def test_the_authorities_of_a_reversed_chain_are_those_of_a_right_one():
    chain = MAKERS["reversed-chain"](wrong_certificates.Order(ROOT, (HOST,), NOW))
    first, second = (one.certificate for one in chain.others)
    assert chain.leaf.certificate.issuer == second.subject
    assert second.issuer == first.subject
    assert first.issuer == ROOT.certificate.subject


def test_an_unchanged_configuration_keeps_its_certificate():
    assert wrong("expired", (HOST,), ROOT) is wrong("expired", (HOST,), ROOT)
    assert wrong("expired", (HOST,), issuing.root(NOW)) is not wrong("expired", (HOST,), ROOT)


def test_another_process_can_serve_it():
    contexts = ServerContexts([wrong("weak-key", (HOST,), ROOT)])
    assert pickle.loads(pickle.dumps(contexts)).certificates == contexts.certificates


def test_an_authority_that_cannot_sign_all_of_them_is_refused():
    assert may_issue(ROOT) is None
    assert may_issue(issuing.server(ROOT, [HOST], NOW)) == "it is not a certificate of an authority"
    assert "path length" in (may_issue(issuing.authority(NOW)) or "")


def test_an_authority_is_read_from_files(tmp_path):
    (tmp_path / "ca.pem").write_bytes(ROOT.certificate_pem)
    (tmp_path / "ca-key.pem").write_bytes(ROOT.key_pem)
    found = read_test_authority(tmp_path / "ca.pem", tmp_path / "ca-key.pem")
    assert (found.certificate, found.key_pem) == (ROOT.certificate, ROOT.key_pem)
    with pytest.raises(CertificateError, match="ca.pem: the file has no private key; set test-ca-key to the file"):
        read_test_authority(tmp_path / "ca.pem")
    (tmp_path / "both.pem").write_bytes(ROOT.certificate_pem + ROOT.key_pem)
    assert read_test_authority(tmp_path / "both.pem").key_pem == ROOT.key_pem


def test_the_page_has_every_certificate():
    page = (TOP / "docs" / "CERTIFICATES.md").read_text("utf-8")
    assert re.findall(r"(?m)^### `(.*)`$", page) == list(MAKERS)
