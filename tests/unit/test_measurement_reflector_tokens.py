"""Tokens of a public reflector: valid for one address and a short time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.measurement.reflector_tokens import SIZE, SLOT, ReflectorTokens

HERE = b"192.0.2.1"


def test_a_token_is_valid_for_its_address_and_30_to_60_seconds():
    now = [1000.0]
    tokens = ReflectorTokens(lambda: now[0])
    token = tokens.token(HERE)
    assert len(token) == SIZE
    assert tokens.is_valid(HERE, token)
    assert not tokens.is_valid(b"192.0.2.2", token)
    assert not ReflectorTokens(lambda: now[0]).is_valid(HERE, token)  # another secret
    now[0] += SLOT
    assert tokens.is_valid(HERE, token)
    now[0] += SLOT
    assert not tokens.is_valid(HERE, token)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=20))
def test_other_bytes_are_no_token(data):
    tokens = ReflectorTokens(lambda: 0.0)
    assert not tokens.is_valid(HERE, data)
