"""echod.tls.transcript: the messages of a handshake, and arbitrary bytes in place of them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from echod.tls.issuing import authority, client, server
from echod.tls.transcript import MOST_CERTIFICATES, Transcript, alert_name, certificates_in
from echod.tls.verification import Expectations, client_context
from tests.handshakes import observed, server_context, shake

NOW = datetime.now(UTC)
CA = authority(NOW)


def der(issued):
    return issued.certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_chain_is_recorded_as_presented(tmp_path, version):
    leaf = server(CA, ["echo.example"], NOW)
    serving = server_context(tmp_path, leaf, CA, client_ca=CA)
    serving.maximum_version = getattr(type(serving.maximum_version), version.replace(".", "_"))
    tls, _ = shake(client_context(Expectations(verified=False)), serving, None)
    transcript = observed(tls).transcript
    assert transcript.presented == [der(leaf), der(CA)]
    assert transcript.greeted
    assert transcript.finished
    assert transcript.certificate_requested


def test_each_object_has_its_own_transcript(tmp_path):
    context = client_context(Expectations(verified=False))
    first, _ = shake(context, server_context(tmp_path, server(CA, ["a.example"], NOW)), None)
    second, _ = shake(context, server_context(tmp_path, client(CA, "b", NOW)), None)
    assert observed(first).transcript.presented != observed(second).transcript.presented


def test_events_are_reported_in_order(tmp_path):
    told: list[str] = []
    context = client_context(Expectations(verified=False), lambda event, _transcript: told.append(event))
    tls, _ = shake(context, server_context(tmp_path, server(CA, ["a.example"], NOW)), None)
    with pytest.raises(ssl.SSLWantReadError):
        tls.unwrap()
    assert told == ["ClientHello sent", "ServerHello received", "Certificate received", "close_notify sent"]


def test_a_request_for_another_group_is_told(tmp_path):
    told: list[str] = []
    context = client_context(Expectations(verified=False), lambda event, _transcript: told.append(event))
    serving = server_context(tmp_path, server(CA, ["a.example"], NOW))
    serving.set_ecdh_curve("secp384r1")  # OpenSSL's client offers a key of X25519 first
    shake(context, serving, None)
    assert told[:4] == [
        "ClientHello sent",
        "HelloRetryRequest received",
        "ClientHello sent",
        "ServerHello received",
    ]


def test_only_fatal_alerts_of_the_peer_are_errors():
    transcript = Transcript()
    transcript.message(True, 0x304, 21, b"\x01\x00")
    transcript.message(False, 0x304, 21, b"\x02\x28")
    before = transcript.alert
    transcript.message(True, 0x304, 21, b"\x02\x74")
    assert (before, transcript.alert) == (None, 116)
    assert alert_name(116) == "certificate_required"
    assert alert_name(255) == "alert 255"


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_are_parsed_without_an_error(message, has_context):
    for found in certificates_in(message, has_context=has_context):
        assert found in message
    transcript = Transcript()
    for content in (21, 22, 23, 256):
        for received in (True, False):
            transcript.message(received, 0x304 if has_context else 0x303, content, message)


def test_the_number_of_certificates_is_bounded():
    message = bytes(7) + (b"\0\0\1x" * 100)
    assert len(certificates_in(message, has_context=False)) == MOST_CERTIFICATES
