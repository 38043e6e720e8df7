"""asyncio and uvloop: Protocol and DatagramProtocol as in the standard library's documentation.

asyncio_echo.py HOST PORT [upper] [udp] [uvloop]        asyncio_echo.py unix PATH [upper] [uvloop]
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import cast


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


async def serve(host: str, port: str, *words: str) -> None:
    loop = asyncio.get_running_loop()
    protocol = Upper if "upper" in words else Echo
    if "udp" in words:
        await loop.create_datagram_endpoint(EchoUDP, local_addr=(host, int(port)))
    elif host == "unix":
        await loop.create_unix_server(protocol, port)
    else:
        await loop.create_server(protocol, host, int(port))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if "uvloop" in sys.argv:
        asyncio.set_event_loop_policy(importlib.import_module("uvloop").EventLoopPolicy())
    asyncio.run(serve(*sys.argv[1:]))
