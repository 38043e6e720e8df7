"""The TLS profiles of a server: versions, cipher suites and key exchange groups, from Mozilla's guidelines 5.7.

The guidelines are at https://wiki.mozilla.org/Security/Server_Side_TLS. Their finite-field suites (DHE) are left out,
because each such handshake costs the server milliseconds.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Profile = Literal["intermediate", "modern"]

GROUPS: Final = "X25519:P-256:P-384"
ONE_GROUP: Final = "prime256v1"
"""The group for a Python whose `ssl` can set only one (before 3.15). Every TLS client supports it. A client that
offers a key of another group first needs one more round trip. OpenSSL's defaults have groups that the guidelines do
not allow."""


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


def apply(context: ssl.SSLContext, profile: Profile) -> None:
    """Set versions, suites and groups of a server's context.

    The client chooses among them, because it knows whether its processor has AES. Renegotiation is refused, which
    Python does not do by default. Early data is off, and Python cannot turn it on. One session ticket is sent: each
    costs the client 255 bytes.
    """
    rules = PROFILES[profile]
    context.minimum_version = rules.lowest
    if rules.suites:
        context.set_ciphers(rules.suites)
    set_groups = getattr(context, "set_groups", None)  # from Python 3.15 on
    if set_groups is not None:
        set_groups(GROUPS)
    else:
        context.set_ecdh_curve(ONE_GROUP)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1


def allow_weak_keys(context: ssl.SSLContext) -> None:
    """Let a server present a weak key on purpose. The suites stay the same; call it after `apply`.

    At OpenSSL's usual security level, such a key cannot be loaded.
    """
    suites = ":".join(suite["name"] for suite in context.get_ciphers() if not suite["name"].startswith("TLS_"))
    context.set_ciphers(f"{suites or 'DEFAULT'}:@SECLEVEL=0")
