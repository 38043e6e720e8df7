"""Makes three mistakes with a WebSocket, and prints how the server answers each of them."""

import socket
import sys

port = sys.argv[1]
request = f"""GET /echo HTTP/1.1
Host: 127.0.0.1:{port}
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

"""


def answer(name, request, frame=b""):
    client = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
    client.sendall(request.replace("\n", "\r\n").encode())
    stream = client.makefile("rb")
    print(name, "→", stream.readline().decode().strip())
    while stream.readline() != b"\r\n":
        pass
    if frame:
        client.sendall(frame)
        first, length = stream.read(2)
        payload = stream.read(length)
        print("  opcode", first & 15, "code", int.from_bytes(payload[:2], "big"), payload[2:].decode())


answer("no key", request.replace("Sec-WebSocket-Key", "X-Key"))
answer("not masked", request, b"\x81\x05hello")
answer("cut character", request, b"\x81\x82\0\0\0\0" + "你".encode()[:2])
