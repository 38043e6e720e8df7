"""The records of a server that are changed, and those that are not."""

import pytest

from echod.tls import hello_messages


def refused(_extensions):
    raise AssertionError("nothing may be changed")


@pytest.mark.parametrize(
    "flight",
    [hello_messages.alert(40), b"\x17\x03\x03\x00\x05\x02abcd", b"\x16\x03\x03\x00\x05\x0babcd", b""],
    ids=["alert", "encrypted", "another message", "nothing"],
)
def test_records_that_do_not_begin_with_a_server_hello_are_returned_as_they_are(flight):
    assert hello_messages.with_extensions(flight, refused) == (flight, False)
