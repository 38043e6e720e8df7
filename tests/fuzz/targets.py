"""Every input interface of the project."""

from __future__ import annotations

from typing import Final

from tests.fuzz import (
    answering,
    asking,
    bin_requests,
    bus,
    certificates,
    fault_settings,
    headers,
    measuring,
    parsers,
    talking,
    tls,
    tls_client,
    websocket,
)

TARGETS: Final = (
    *parsers.TARGETS,
    *headers.TARGETS,
    *tls.TARGETS,
    *tls_client.TARGETS,
    *certificates.TARGETS,
    *answering.TARGETS,
    *talking.TARGETS,
    *asking.TARGETS,
    *bin_requests.TARGETS,
    *fault_settings.TARGETS,
    *measuring.TARGETS,
    *websocket.TARGETS,
    *bus.TARGETS,
)
