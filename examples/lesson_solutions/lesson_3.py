"""Serves one client: reads a line, sends a receipt, and closes."""

import socket
import sys

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
client, address = server.accept()

data = b""
while not data.endswith(b"\n"):
    data += client.recv(1024)

client.sendall(b"received")
client.close()
