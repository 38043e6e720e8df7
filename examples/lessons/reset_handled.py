"""Treats a reset as what it is: the reply is not complete, and the request can be repeated."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"reset-after=5\nhello, world")

reply = b""
try:
    while data := client.recv(1024):
        reply += data
except ConnectionResetError:
    print("the server has reset the connection; the reply is not complete")
else:
    print("reply:", reply.decode())
