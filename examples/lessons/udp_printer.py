"""Prints every datagram, until one says `exit`."""

import socket
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", int(sys.argv[1])))
print("waiting for datagrams", file=sys.stderr)

while True:
    data, address = server.recvfrom(1024)
    print("datagram:", data.decode(), flush=True)
    if data == b"exit":
        break
