"""Decodes what one recv returns: 128 bytes, which end in the middle of a character of three bytes."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"chunk=128\n" + ("你好，世界。" * 8).encode())

data = client.recv(128)
print(data.decode())
