"""Requests a WebSocket with a fixed key, and prints each line of both sides."""

import socket
import sys

port = sys.argv[1]
request = (
    "GET /echo HTTP/1.1\r\n"
    f"Host: 127.0.0.1:{port}\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "\r\n"
)
client = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
client.sendall(request.encode())
stream = client.makefile("rb")

for line in request.encode().splitlines(keepends=True):
    print(">", repr(line)[2:-1])
while (line := stream.readline()).strip():
    print("<", repr(line)[2:-1])
print("<", repr(line)[2:-1])
