"""Reads until the server closes. It does not expect that the server resets the connection."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"reset-after=5\nhello, world")

while data := client.recv(1024):
    print("received:", data.decode())
