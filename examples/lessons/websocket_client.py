"""Opens a WebSocket by a plain socket, sends one message, and prints the reply (RFC 6455)."""

import base64
import os
import socket
import sys

port = int(sys.argv[1])
key = base64.b64encode(os.urandom(16)).decode()
request = f"""GET /echo HTTP/1.1
Host: 127.0.0.1:{port}
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: {key}

"""
client = socket.create_connection(("127.0.0.1", port), timeout=10)
client.sendall(request.replace("\n", "\r\n").encode())
stream = client.makefile("rb")
while (line := stream.readline()) != b"\r\n":
    if line.startswith((b"HTTP", b"Upgrade", b"upgrade")):
        print(line.decode().strip())

message, mask = b"hello", os.urandom(4)
masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(message))
client.sendall(bytes([0x81, 0x80 | len(message)]) + mask + masked)
first, length = stream.read(2)
print("reply:", stream.read(length).decode())
