"""AddressCookies: good for one sender and a while, and for nobody else."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from echod.gate.address_cookies import LENGTH, PREFIX, SLOT, AddressCookies


def test_a_token_is_right_for_its_sender_alone():
    tokens = AddressCookies(lambda: 0.0)
    token = tokens.token(b"192.0.2.1:4000")
    assert len(token) == LENGTH
    assert token.startswith(PREFIX)
    assert token.isascii()
    assert tokens.right(b"192.0.2.1:4000", token)
    assert tokens.right(b"192.0.2.1:4000", token + b"\r\n")
    assert not tokens.right(b"192.0.2.1:4001", token)
    assert not tokens.right(b"192.0.2.1:4000", token[:-1])


def test_a_token_ends():
    clock = Clock()
    tokens = AddressCookies(clock.seconds)
    clock.advance(SLOT * 3.9)
    token = tokens.token(b"a")
    clock.advance(SLOT)
    assert tokens.right(b"a", token)
    clock.advance(SLOT)
    assert not tokens.right(b"a", token)


def test_another_process_has_other_tokens():
    assert not AddressCookies(lambda: 0.0).right(b"a", AddressCookies(lambda: 0.0).token(b"a"))


@given(st.binary(max_size=60))
def test_nothing_else_is_a_token(returned):
    assert not AddressCookies(lambda: 1e6, secret=b"secret").right(b"a", returned)
