"""The exercises, in the order of the course."""

from __future__ import annotations

from typing import Final

from echod.client.lessons import (
    address_families,
    chat_bot,
    first_socket,
    half_close,
    lossy_datagrams,
    many_clients,
    restartable_server,
    stream_pieces,
    tls_client,
    websocket_client,
)
from echod.client.lessons.exercise import Exercise

EXERCISES: Final[tuple[Exercise, ...]] = (
    first_socket.EXERCISE,
    stream_pieces.EXERCISE,
    restartable_server.EXERCISE,
    many_clients.EXERCISE,
    half_close.EXERCISE,
    chat_bot.EXERCISE,
    websocket_client.EXERCISE,
    tls_client.EXERCISE,
    address_families.EXERCISE,
    lossy_datagrams.EXERCISE,
)
