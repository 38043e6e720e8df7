"""The records of a server that are changed, and those that are not."""

import contextlib
import ssl

import pytest

from echod.tls import hello_messages
from echod.tls.server import ServerContexts
from tests.tls import issued


def refused(_extensions):
    raise AssertionError("nothing may be changed")


@pytest.mark.parametrize(
    "flight",
    [hello_messages.alert(40), b"\x17\x03\x03\x00\x05\x02abcd", b"\x16\x03\x03\x00\x05\x0babcd", b""],
    ids=["alert", "encrypted", "another message", "nothing"],
)
def test_records_that_do_not_begin_with_a_server_hello_are_returned_as_they_are(flight):
    assert hello_messages.with_extensions(flight, refused) == (flight, False)


def test_a_request_for_another_hello_is_returned_as_it_is_and_another_message_follows():
    """OpenSSL sends it to a client that has no key of the server's only group."""
    server = ServerContexts([issued("one.example")]).default
    server.set_ecdh_curve("secp384r1")
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(sent, received, server_hostname="one.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    with contextlib.suppress(ssl.SSLWantReadError):
        server.wrap_bio(received, sent, server_side=True).do_handshake()
    flight = sent.read()
    assert hello_messages.with_extensions(flight, refused) == (flight, True)
