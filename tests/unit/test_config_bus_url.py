"""The URL of the bus: its parts, and that neither its text nor an error has the password."""

import pytest

from echod.config.bus_url import BusUrl, bus_url


@pytest.mark.parametrize(
    ("written", "parsed", "text"),
    [
        ("redis://127.0.0.1", BusUrl("127.0.0.1"), "redis://127.0.0.1:6379/0"),
        ("redis://[::1]:7000/15", BusUrl("::1", 7000, 15), "redis://[::1]:7000/15"),
        (
            "rediss://echo:a%2Fb%40c@redis.example:6380/0",
            BusUrl("redis.example", 6380, 0, "echo", "a/b@c", tls=True),
            "rediss://echo:***@redis.example:6380/0",
        ),
        ("redis://:secret@h/", BusUrl("h", password="secret"), "redis://:***@h:6379/0"),
    ],
    ids=["short", "ipv6", "all", "default-user"],
)
def test_the_parts(written, parsed, text):
    assert bus_url(written) == parsed
    assert str(parsed) == text
    assert "secret" not in repr(parsed)
    assert "a/b@c" not in repr(parsed)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("http://:secret@h", "the scheme"),
        ("redis://:secret@h:70000", "the port"),
        ("redis://:secret@h:0", "the port"),
        ("redis://:secret@", "the host"),
        ("redis://:secret@h/x", "the database"),
        ("redis://:secret@h/16384", "the database"),
        ("redis://:secret@h/1/2", "the database"),
        ("redis://:secret@h/0?db=1", "a query"),
        ("redis://secret@h", "no password"),
        ("redis://:secret @h", "a character"),
        ("redis://:secret\u2028@h", "a character"),
        ("redis://:secret@[h", "the port or the host"),
        ("secret", "the scheme"),
    ],
)
def test_an_error_gives_the_reason_without_the_url(written, why):
    with pytest.raises(ValueError, match="must be a URL such as") as raised:
        bus_url(written)
    assert why in str(raised.value)
    assert "secret" not in str(raised.value)
