"""A client of the admin interface of a daemon under test."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

PATIENCE: Final = 30.0  #: seconds for a response


@dataclass(frozen=True)
class Received:
    """One datagram or message that a client sent; or on a stream, everything that was received on one connection."""

    data: bytes
    transport: str  #: the scheme of the address that it arrived at
    peer: str  #: the client's address, as the log shows it
    time: float  #: of the arrival, or of the begin of the connection: seconds since 1970
    text: bool | None = None  #: whether a WebSocket message came as text


class RequestRefused(Exception):
    """The daemon refused a request; `status` is the one of HTTP, and the message has the reasons."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class AdminClient:
    """Sends requests to the Unix socket at `path`. Raises OSError if the daemon does not reply."""

    def __init__(self, path: str) -> None:
        self._path = path

    def status(self) -> dict[str, Any]:
        """The content of /api/status."""
        found: dict[str, Any] = self._ask("GET", "/api/status")
        return found

    def connections(self) -> list[dict[str, Any]]:
        """The open connections."""
        found: list[dict[str, Any]] = self._ask("GET", "/api/connections?limit=10000")
        return found

    def received(self, service: str) -> tuple[list[Received], int]:
        """The messages that clients sent to a service, and how much of it was not kept. Raises RequestRefused."""
        content = self._ask("GET", f"/api/received/{quote(service)}")
        entries = [Received(**{**one, "data": base64.b64decode(one["data"])}) for one in content["received"]]
        return entries, content["dropped"]

    def forget_received(self, service: str) -> None:
        """Forget what clients sent so far. Raises RequestRefused."""
        self._ask("DELETE", f"/api/received/{quote(service)}")

    def reload(self) -> None:
        """Read the configuration again. Raises RequestRefused with every error."""
        self._ask("POST", "/api/reload")

    def _ask(self, method: str, path: str) -> Any:
        client = http.client.HTTPConnection("localhost")
        client.sock = socket.socket(socket.AF_UNIX)
        try:
            client.sock.settimeout(PATIENCE)
            client.sock.connect(self._path)
            client.request(method, path)
            response = client.getresponse()
            content = json.loads(response.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"the admin interface did not reply: {error!r}") from error
        finally:
            client.close()
        if response.status != http.HTTPStatus.OK:
            errors = content.get("errors") or [content.get("error", f"status {response.status}")]
            raise RequestRefused(response.status, "\n".join(errors))
        return content
