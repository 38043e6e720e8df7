"""Sends a message over three types of sockets, and prints the replies."""

import socket
import sys

port, stream, seqpacket = sys.argv[1:]
for family, kind, address in (
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", int(port))),
    (socket.AF_UNIX, socket.SOCK_STREAM, stream),
    (socket.AF_UNIX, socket.SOCK_SEQPACKET, seqpacket),
):
    if address != ("::1", 0):  # a machine without IPv6
        with socket.socket(family, kind) as client:
            client.connect(address)
            client.sendall(b"hello")
            print(client.recv(1024).decode())
