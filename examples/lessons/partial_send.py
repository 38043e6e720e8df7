"""Sends much data by one call of send, and compares what it returns."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
data = bytes(50_000_000)

sent = client.send(data)
print("all was sent" if sent == len(data) else "only a part was sent")
