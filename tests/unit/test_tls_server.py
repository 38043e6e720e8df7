"""The contexts of a server: the certificate by name, the profile, and what they refuse."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.tls import profiles
from echod.tls.certificate_facts import facts_of_der
from echod.tls.certificates import CertificateError, self_signed
from echod.tls.client_hello import key_exchange_groups
from echod.tls.profiles import PROFILES
from echod.tls.server import ServerContexts
from tests.tls import authority, issued


@pytest.fixture(scope="module")
def contexts():
    return ServerContexts(
        [issued("one.example"), issued("two.example", "*.two.example"), issued("one.example", "*.deep.two.example")]
    )


def presented(contexts, name):
    """The names in the certificate that a client gets if it asks for `name`."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=authority().certificate_pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = contexts.default.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return facts_of_der(one.getpeercert(binary_form=True) or b"").names


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("one.example", "one.example"),
        ("ONE.example", "one.example"),
        ("two.example", "two.example"),
        ("a.two.example", "two.example"),
        ("a.deep.two.example", "one.example"),
        ("b.a.two.example", "one.example"),
        ("other.example", "one.example"),
        (None, "one.example"),
    ],
)
def test_the_certificate_is_chosen_by_the_name(contexts, asked, first):
    assert presented(contexts, asked)[0] == first


def test_an_exact_name_and_its_wildcard_have_their_own_certificates(contexts):
    assert presented(contexts, "a.deep.two.example") == ("one.example", "*.deep.two.example")
    assert presented(contexts, "one.example") == ("one.example",)


def hello(group):
    """The hello of a client with a key of one group, or with OpenSSL's usual groups."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if group is not None:
        client.set_ecdh_curve(group)
    unused, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(unused, sent, server_hostname="one.example").do_handshake()
    return sent.read()


@pytest.mark.parametrize(
    ("group", "number"), [("X25519", 29), ("prime256v1", 23), ("secp384r1", 24), (None, 29)], ids=str
)
def test_a_handshake_takes_one_round_trip_whatever_group_the_client_prefers(contexts, group, number):
    record = hello(group)
    assert key_exchange_groups(record)[0] == number
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    received.write(record)
    context = contexts.context_for_hello(record)
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(received, sent, server_side=True).do_handshake()
    assert len(sent.read()) > 400, "it is a request for another hello"


def test_a_group_that_python_refuses_has_no_context(monkeypatch):
    """Python 3.11.2 refuses X25519, also with an OpenSSL that has it."""
    monkeypatch.setattr(profiles, "GROUPS", {**profiles.GROUPS, 29: "refused"})
    profiles.groups_of_contexts.cache_clear()
    try:
        contexts = ServerContexts([issued("one.example")])
    finally:
        profiles.groups_of_contexts.cache_clear()
    assert contexts.context_for_hello(hello("X25519")) is contexts.default
    assert contexts.context_for_hello(hello("secp384r1")) is not contexts.default


def test_a_client_certificate_of_any_key_is_accepted_in_tls_1_2():
    """With a group that is not that of the key, OpenSSL would refuse it."""
    contexts = ServerContexts([issued("one.example")], authorities=authority().certificate_pem.decode())
    assert contexts.context_for_hello(hello("X25519")) is contexts.default


def test_without_a_known_group_the_default_context_is_used(contexts):
    for record in (b"", hello("secp521r1"), hello(None)[:100], b"\x16\x03\x01\x00\x02\x01\x00"):
        assert contexts.context_for_hello(record) is contexts.default


def test_the_groups_of_a_hello_are_in_its_order_without_repetitions(contexts):
    shares = b"".join(number.to_bytes(2, "big") + b"\0\0" for number in range(1000, 3000))
    groups = b"".join(number.to_bytes(2, "big") for number in range(2000, 6000)) + b"\0\x1d"
    extensions = b"".join(
        kind.to_bytes(2, "big") + (len(body) + 2).to_bytes(2, "big") + len(body).to_bytes(2, "big") + body
        for kind, body in ((10, groups), (51, shares))
    )
    body = bytes(34) + b"\0" + b"\0\0" + b"\0" + len(extensions).to_bytes(2, "big") + extensions
    assert key_exchange_groups(bytes(6) + len(body).to_bytes(3, "big") + body) == [*range(1000, 6000), 29]


@given(st.data())
def test_a_malformed_hello_has_no_groups_or_known_ones(data):
    record = bytearray(hello("X25519"))
    cut = data.draw(st.integers(0, len(record)))
    assert key_exchange_groups(bytes(record[:cut])) == ([29] if cut == len(record) else [])
    for _ in range(data.draw(st.integers(1, 5))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    assert all(0 <= group < 1 << 16 for group in key_exchange_groups(bytes(record)))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_allows_what_the_guidelines_do(profile):
    context = ServerContexts([self_signed(("localhost",))], profile).default
    lowest = ssl.TLSVersion.TLSv1_3 if profile == "modern" else ssl.TLSVersion.TLSv1_2
    assert context.minimum_version is lowest
    assert {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.3"} == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
    old = [cipher for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    assert all(cipher["aead"] and cipher["kea"] == "kx-ecdhe" for cipher in old if profile == "intermediate")
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION):
        assert context.options & option
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.num_tickets == 1


def test_clients_need_a_certificate_only_with_authorities():
    certificate = issued("one.example")
    pem = authority().certificate_pem.decode()
    assert ServerContexts([certificate]).default.verify_mode is ssl.CERT_NONE
    assert ServerContexts([certificate], authorities=pem).default.verify_mode is ssl.CERT_OPTIONAL
    assert ServerContexts([certificate], authorities=pem, required=True).default.verify_mode is ssl.CERT_REQUIRED


def test_a_certificate_that_openssl_refuses_is_named():
    good = issued("one.example")
    bad = type(good)("/etc/a.pem", good.pem[:100], good.facts)
    with pytest.raises(CertificateError, match=r"^/etc/a\.pem: the certificate cannot be used: "):
        ServerContexts([bad])
