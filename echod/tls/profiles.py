"""The TLS profiles of a server: versions, cipher suites and key exchange groups, from Mozilla's guidelines 5.7.

The guidelines are at https://wiki.mozilla.org/Security/Server_Side_TLS. Their finite-field suites (DHE) are left out,
because each such handshake costs the server milliseconds.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final, Literal

from echod.tls.client_hello import ClientHello, client_hello

Profile = Literal["intermediate", "modern"]

GROUPS: Final[Mapping[int, str]] = MappingProxyType({0x001D: "X25519", 0x0017: "prime256v1", 0x0018: "secp384r1"})
"""The key exchange groups by their numbers (RFC 8446 4.2.7), the preferred one first. OpenSSL's defaults have groups
that the guidelines do not allow."""
DEFAULT_GROUP: Final = 0x0017  #: every TLS client supports it
ONE_GROUP: Final = not hasattr(ssl.SSLContext, "set_groups")
"""Whether a context can have only one group (Python before 3.15). Then a server has a context for each group."""


@cache
def groups_of_contexts() -> frozenset[int]:
    """The groups that a context can have as its only one. Python before 3.11.4 refuses X25519."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    usable = set()
    for number, name in GROUPS.items():
        try:
            context.set_ecdh_curve(name)
        except (ssl.SSLError, ValueError):
            continue
        usable.add(number)
    return frozenset(usable)


@cache
def groups_of_openssl() -> frozenset[int]:
    """The groups of a context for which none is set: those in the ClientHello of such a client."""
    unused, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(unused, sent, server_hostname="localhost").do_handshake()
    hello = client_hello(sent.read())
    return frozenset(hello.groups if hello is not None else ())


def is_negotiated(group: int, hello: ClientHello) -> bool:
    """Whether a context that `apply` has set up for this group negotiates it with this client, and no other group.

    A context that cannot have it as its only group has those of OpenSSL. It takes the first of the client's keys in TLS
    1.3, and the first of the client's groups in TLS 1.2.
    """
    if group in groups_of_contexts():
        return True
    known = groups_of_openssl()
    first = (next((number for number in offered if number in known), group) for offered in (hello.keys, hello.groups))
    return group in known and all(number == group for number in first)


@dataclass(frozen=True)
class _Rules:
    lowest: ssl.TLSVersion
    suites: str  #: of TLS 1.2; the suites of TLS 1.3 are all allowed


PROFILES: Final[Mapping[Profile, _Rules]] = MappingProxyType(
    {
        "intermediate": _Rules(
            ssl.TLSVersion.TLSv1_2,
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
            "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
            "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305",
        ),
        "modern": _Rules(ssl.TLSVersion.TLSv1_3, ""),
    }
)


def apply(context: ssl.SSLContext, profile: Profile, group: int = DEFAULT_GROUP) -> None:
    """Set versions, suites and groups of a server's context; with ONE_GROUP it is `group` (but see `is_negotiated`).

    The client chooses among them, because it knows whether its processor has AES. Renegotiation is refused, which
    Python does not do by default. Early data is off, and Python cannot turn it on. One session ticket is sent: each
    costs the client 255 bytes.
    """
    rules = PROFILES[profile]
    context.minimum_version = rules.lowest
    if rules.suites:
        context.set_ciphers(rules.suites)
    if not ONE_GROUP:
        context.set_groups(":".join(GROUPS.values()))  # type: ignore[attr-defined] # from Python 3.15 on
    elif group in groups_of_contexts():
        context.set_ecdh_curve(GROUPS[group])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1


def allow_weak_keys(context: ssl.SSLContext) -> None:
    """Let a server present a weak key on purpose. The suites stay the same; call it after `apply`.

    At OpenSSL's usual security level, such a key cannot be loaded.
    """
    suites = ":".join(suite["name"] for suite in context.get_ciphers() if not suite["name"].startswith("TLS_"))
    context.set_ciphers(f"{suites or 'DEFAULT'}:@SECLEVEL=0")


def allow_old_versions(context: ssl.SSLContext, newest: int) -> None:
    """Let a server offer only old versions of TLS on purpose, up to `newest`, such as 0x0302 for TLS 1.1.

    Such a version needs suites and signatures that OpenSSL's usual security level forbids.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of versions before TLS 1.2
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion(newest)
    context.set_ciphers("ALL:!aNULL:!eNULL:@SECLEVEL=0")
