"""The contexts of a server: the certificate by name, the profile, and what they refuse."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.tls import profiles
from echod.tls.certificate_facts import facts_of_der
from echod.tls.certificates import CertificateError, self_signed
from echod.tls.client_hello import ClientHello, client_hello
from echod.tls.hello_messages import with_extensions
from echod.tls.profiles import GROUPS, PROFILES, groups_of_contexts, is_negotiated
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


X25519 = 29
KEY_SHARE = 51
SETS_X25519 = pytest.mark.skipif(X25519 not in groups_of_contexts(), reason="this Python refuses X25519")


def hello(group):
    """The hello of a client with a key of one group, or with OpenSSL's usual groups, which begin with X25519."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if group is not None:
        client.set_ecdh_curve(group)
    unused, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(unused, sent, server_hostname="one.example").do_handshake()
    return sent.read()


def exchange_groups(record):
    return (client_hello(record) or ClientHello()).exchange_groups


@pytest.fixture(params=[True, False], ids=["any-group", "no-X25519"])
def of_any_python(request, monkeypatch):
    """Contexts as with this Python, and as with one that refuses X25519 as the only group."""
    if not request.param:
        numbers = groups_of_contexts() - {X25519}
        monkeypatch.setattr(profiles, "groups_of_contexts", lambda: numbers)
    return ServerContexts([issued("one.example")])


@pytest.mark.parametrize(
    ("group", "number"),
    [pytest.param("X25519", 29, marks=SETS_X25519), ("prime256v1", 23), ("secp384r1", 24), (None, 29)],
    ids=str,
)
def test_a_handshake_takes_one_round_trip_whatever_group_the_client_prefers(of_any_python, group, number):
    record = hello(group)
    assert next(offered for offered in exchange_groups(record) if offered in GROUPS) == number
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    received.write(record)
    context = of_any_python.context_for_hello(record)
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(received, sent, server_side=True).do_handshake()
    found = {}
    _, is_another_hello_wanted = with_extensions(sent.read(), lambda extensions: found.update(extensions) or extensions)
    assert not is_another_hello_wanted
    assert int.from_bytes(found[KEY_SHARE][:2], "big") == number


def test_a_group_that_python_refuses_and_openssl_lacks_has_no_context(monkeypatch):
    """Such as X25519 with an OpenSSL that allows the groups of FIPS only."""
    monkeypatch.setattr(profiles, "groups_of_contexts", lambda: frozenset({23, 24}))
    monkeypatch.setattr(profiles, "groups_of_openssl", lambda: frozenset({23, 24}))
    contexts = ServerContexts([issued("one.example")])
    assert contexts.context_for_hello(hello(None)) is contexts.default
    assert contexts.context_for_hello(hello("secp384r1")) is not contexts.default


def test_python_refuses_a_group():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "GROUPS", {**GROUPS, X25519: "refused"})
        assert groups_of_contexts.__wrapped__() == {23, 24}


@pytest.mark.parametrize(
    ("keys", "groups", "negotiated"),
    [
        ([29], [29, 23], True),
        ([], [29, 30], True),
        ([0x0A0A, 29], [0x0A0A, 29, 23], True),
        ([30, 29], [30, 29], False),
        ([29], [30, 29], False),
        ([30, 29], [29, 30], False),
        ([], [30, 29], False),
    ],
    ids=str,
)
def test_openssls_groups_are_used_only_if_they_negotiate_the_wanted_one(monkeypatch, keys, groups, negotiated):
    """They include X448 (30), which the profiles do not allow. 0x0A0A is a number that no server knows."""
    assert profiles.groups_of_openssl() >= {29, 23, 30}
    hello_of_client = ClientHello(keys=keys, groups=groups)
    monkeypatch.setattr(profiles, "groups_of_contexts", lambda: frozenset({23, 24}))
    assert is_negotiated(X25519, hello_of_client) is negotiated
    assert is_negotiated(24, hello_of_client)


def test_a_client_that_prefers_a_group_of_no_profile_gets_the_next_one(monkeypatch):
    monkeypatch.setattr(profiles, "groups_of_contexts", lambda: frozenset({23, 24}))
    contexts = ServerContexts([issued("one.example")])
    record = hello(None)
    usual, other = (bytes.fromhex(numbers) for numbers in ("001d 0017 001e", "001e 001d 0017"))
    assert record.count(usual) == 1
    assert contexts.context_for_hello(record) is not contexts.default
    assert contexts.context_for_hello(record.replace(usual, other)) is contexts.default


def test_a_client_certificate_of_any_key_is_accepted_in_tls_1_2():
    """With a group that is not that of the key, OpenSSL would refuse it."""
    contexts = ServerContexts([issued("one.example")], authorities=authority().certificate_pem.decode())
    assert contexts.context_for_hello(hello(None)) is contexts.default


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
    assert exchange_groups(bytes(6) + len(body).to_bytes(3, "big") + body) == [*range(1000, 6000), 29]


@given(st.data())
def test_a_malformed_hello_has_no_groups_or_known_ones(data):
    record = bytearray(hello("secp384r1"))
    cut = data.draw(st.integers(0, len(record)))
    assert exchange_groups(bytes(record[:cut])) == ([24] if cut == len(record) else [])
    for _ in range(data.draw(st.integers(1, 5))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    assert all(0 <= group < 1 << 16 for group in exchange_groups(bytes(record)))


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
