"""asyncio and uvloop: Protocol and DatagramProtocol as in the standard library's documentation.

asyncio_echo.py HOST PORT [upper] [udp] [websocket] [tls CERTIFICATE] [uvloop]
asyncio_echo.py unix PATH [upper] [uvloop]

With `websocket`, the server of the package websockets, without compression.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection


class Echo(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Upper(Echo):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())


class EchoUDP(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def echo_messages(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def serve(host: str, port: str, *words: str) -> None:
    loop = asyncio.get_running_loop()
    protocol = Upper if "upper" in words else Echo
    if "websocket" in words:
        server = importlib.import_module("websockets.asyncio.server")
        await server.serve(echo_messages, host, int(port), compression=None)
    elif "udp" in words:
        await loop.create_datagram_endpoint(EchoUDP, local_addr=(host, int(port)))
    elif host == "unix":
        await loop.create_unix_server(protocol, port)
    elif "tls" in words:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(words[1])
        await loop.create_server(protocol, host, int(port), ssl=context)
    else:
        await loop.create_server(protocol, host, int(port))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if "uvloop" in sys.argv:
        asyncio.set_event_loop_policy(importlib.import_module("uvloop").EventLoopPolicy())
    asyncio.run(serve(*sys.argv[1:]))
