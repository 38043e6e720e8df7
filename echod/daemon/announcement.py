"""`echod --announce json`: one line on standard output with the real addresses, for programs that start the daemon."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from echod.config.settings import TlsSettings
from echod.daemon.admin_view import DaemonView
from echod.daemon.bind import BoundSocket
from echod.daemon.listener import Listener
from echod.escaping import clipped
from echod.socket_names import Inet
from echod.version import VERSION

if TYPE_CHECKING:
    from echod.tls.certificates import Certificate  # slow to import, and many daemons serve no TLS

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


class AnnouncedDaemon(Protocol):
    """The part of the daemon that an announcement uses."""

    view: DaemonView

    @property
    def listeners(self) -> list[Listener]:
        """The listeners that accept."""


def refused(form: str | None, *, daemonised: bool) -> str:
    """Why a value of `--announce` cannot be used; "" if it can."""
    if form is None:
        return ""
    if form != "json":
        return f"--announce: {clipped(form)} is not a format; expected json"
    if daemonised:
        return "--announce: a daemon in the background has no standard output; expected twistd --nodaemon"
    return ""


def write(daemon: AnnouncedDaemon, line: Callable[[str], object], name: str, _fields: Mapping[str, Any]) -> None:
    """Write the line, if an event says that the daemon is ready.

    The reactor accepts no connection before that event, so no output of a service precedes the line.
    """
    if name == "daemon.ready":
        listeners = [listener_fields(one) for one in daemon.listeners]
        content = {"version": VERSION, "pid": os.getpid(), "listeners": listeners, "awaited": daemon.view.awaited()}
        line(json.dumps(content))


def listener_fields(listener: Listener) -> dict[str, Any]:
    """One listener as the line has it: its service, kind and URL, and what a TLS client needs to verify it."""
    config = listener.running.config
    fields: dict[str, Any] = {"service": config.name, "kind": config.kind.kind, "url": url_of(listener.bound)}
    if listener.bound.address.form.is_encrypted:
        fields |= certificate_fields(config.tls)
    return fields


def url_of(bound: BoundSocket) -> str:
    """The URL of a bound socket, with its real port; of an endpoint string without a port, that text."""
    if bound.address.is_opaque:
        host, port = bound.socket.getsockname()[:2]
        return f"tcp://{Inet(host, port)}" if port else bound.address.label
    return bound.address.label


def certificate_fields(tls: TlsSettings | None) -> dict[str, Any]:
    """The names and the SHA-256 fingerprint of the default certificate.

    If echod made it, also the certificate to trust, as PEM: that of its issuer, or itself if it is self-signed.
    """
    if tls is None or tls.contexts is None:
        return {}
    default: Certificate = tls.contexts.certificates[0]
    fields: dict[str, Any] = {"names": list(default.facts.names), "sha256": default.facts.fingerprint}
    if default.made:
        fields["ca"] = b"".join(_CERTIFICATE.findall(default.issuer or default.pem)).decode("ascii")
    return fields
