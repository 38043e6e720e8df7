"""openssl and curl ask the daemon whether the revoked certificate is revoked, at the addresses that it names."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from tests.daemon import ECHOCTL, Daemon, free_port, run
from tests.system_wide.others import ended, said, tool

pytestmark = pytest.mark.needs_tools

CONFIG = """
[services.revocation]
listen = ["http://127.0.0.1:{port}"]
test-ca = "{pki}/ca.pem"
test-ca-key = "{pki}/ca-key.pem"
[services.revoked]
kind = "echo"
listen = ["tls://127.0.0.1:0"]
[services.revoked.tls]
certificate = "revoked"
test-ca = "{pki}/ca.pem"
test-ca-key = "{pki}/ca-key.pem"
revocation-url = "http://127.0.0.1:{port}"
"""


def test_openssl_learns_it_by_ocsp_and_by_the_list(tmp_path):
    pki, port = tmp_path / "pki", free_port()
    assert run(*ECHOCTL, "certificates", pki).returncode == 0
    with Daemon(CONFIG.format(port=port, pki=pki)) as daemon:
        host, at = daemon.inet("revoked", "tls")
        shown = ended(tool("openssl"), "s_client", "-connect", f"{host}:{at}").stdout.decode()
        pem = shown[shown.index("-----BEGIN") : shown.index("-----END")] + "-----END CERTIFICATE-----\n"
        (tmp_path / "revoked.pem").write_text(pem)
        extensions = x509.load_pem_x509_certificate(pem.encode()).extensions
        access: Any = extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_INFORMATION_ACCESS).value
        points: Any = extensions.get_extension_for_oid(ExtensionOID.CRL_DISTRIBUTION_POINTS).value
        responder = access[0].access_location.value
        files = ("-issuer", pki / "ca.pem", "-CAfile", pki / "ca.pem", "-cert", tmp_path / "revoked.pem")
        answer = ended(tool("openssl"), "ocsp", *files, "-url", responder)
        assert b"Response verify OK" in answer.stdout + answer.stderr
        assert b"revoked.pem: revoked" in answer.stdout
        location = points[0].full_name[0].value
        assert said(tool("curl"), "-sSf", "-o", tmp_path / "ca.crl", location) == ""
        said(tool("openssl"), "crl", "-inform", "DER", "-in", tmp_path / "ca.crl", "-out", tmp_path / "crl.pem")
        verified = ended(
            *(tool("openssl"), "verify", "-crl_check", "-CAfile", pki / "ca.pem"),
            *("-CRLfile", tmp_path / "crl.pem", tmp_path / "revoked.pem"),
        )
        assert b"certificate revoked" in verified.stdout + verified.stderr
