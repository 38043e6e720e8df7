"""Sends much data by sendall, and waits until the server has read it all and closes."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
data = bytes(50_000_000)

client.sendall(data)
client.shutdown(socket.SHUT_WR)
print("all was sent" if client.recv(1) == b"" else "the server replied")
