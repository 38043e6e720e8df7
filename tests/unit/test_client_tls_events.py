"""The events of a handshake as lines."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from echod.client.tls_events import Events, described
from echod.tls.certificate_facts import facts_of
from echod.tls.issuing import Purpose, authority, client, issue, server
from echod.tls.transcript import Transcript
from echod.tls.verification import Expectations, client_context
from tests.handshakes import server_context, shake

NOW = datetime.now(UTC)
CA = authority(NOW)


def told(tmp_path, expected: Expectations, name: str | None) -> list[str]:
    lines: list[str] = []
    events = Events(expected, lines.append)
    serving = server_context(tmp_path, server(CA, ["echo.example"], NOW), CA, client_ca=CA)
    serving.set_alpn_protocols(["echo"])
    tls, _ = shake(client_context(expected, events.tell), serving, name)
    events.complete(tls)
    events.verified()
    return lines


def test_the_events_of_a_handshake(tmp_path):
    (tmp_path / "ca.pem").write_bytes(CA.certificate_pem)
    own = client(CA, "anna", NOW)
    (tmp_path / "anna.pem").write_bytes(own.certificate_pem + own.key_pem)
    expected = Expectations("echo.example", str(tmp_path / "ca.pem"), str(tmp_path / "anna.pem"), alpn=("x", "echo"))
    lines = told(tmp_path, expected, "echo.example")
    assert lines[0] == "ClientHello sent: server name echo.example, ALPN x, echo"
    assert lines[1:4] == ["ServerHello received", "CertificateRequest received", "Certificate received: 2 certificates"]
    assert re.fullmatch(
        r"  CN=echo\.example; for echo\.example; issued by CN=echod test CA; valid until .* UTC \(82\d days left\)",
        lines[4],
    )
    assert lines[5].startswith("  CN=echod test CA; no names; issued by CN=echod test CA; ")
    assert lines[6] == "Certificate sent"
    assert "handshake complete: TLS 1.3, TLS_AES_256_GCM_SHA384, ALPN echo" in lines
    assert lines[-1] == f"certificate verified: trusted by {tmp_path}/ca.pem, for the name echo.example"


def test_insecure_reports_that_nothing_is_verified(tmp_path):
    lines = told(tmp_path, Expectations("127.0.0.1", verified=False), None)
    assert lines[0] == "ClientHello sent: no server name, no ALPN"
    assert lines[-1] == "certificate not verified (--insecure)"


def test_an_expired_certificate_and_a_malformed_one():
    late = issue("a", Purpose.SERVER, CA, (), NOW - timedelta(days=20), 10)
    assert described(facts_of(late.certificate), NOW).endswith(" UTC (expired)")
    transcript, lines = Transcript(), list[str]()
    transcript.presented = [b"\x1b[2J"]
    Events(Expectations(), lines.append).tell("Certificate received", transcript)
    assert lines[1].startswith("  malformed certificate: ")
    assert lines[1].isprintable()
