"""Opens a WebSocket, checks the accept key, sends a masked frame, and prints the reply."""

import base64
import hashlib
import os
import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
key = base64.b64encode(os.urandom(16))
upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + b"Sec-WebSocket-Key: " + key + b"\r\n\r\n")
accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())

stream = client.makefile("rb")
head = b"".join(iter(stream.readline, b"\r\n"))
if b"Sec-WebSocket-Accept: " + accept + b"\r\n" not in head:
    sys.exit("this is not the answer to my request")

message, mask = b"hello", os.urandom(4)
masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(message))
client.sendall(bytes([0x81, 0x80 | len(message)]) + mask + masked)
first, length = stream.read(2)
print(stream.read(length).decode())
