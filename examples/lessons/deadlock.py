"""Sends everything before it reads: if the server replies, both sides wait in the end."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=3)
size, sent = 50_000_000, 0

try:
    while sent < size:
        sent += client.send(bytes(min(65536, size - sent)))
except TimeoutError:
    print("stuck after", sent, "of", size, "bytes")
else:
    print("all was sent")
