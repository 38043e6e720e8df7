"""Sends a text, ends its own direction, and reads until the server ends the other."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=3)
client.sendall(sys.stdin.read().encode())
client.shutdown(socket.SHUT_WR)

reply = b""
while data := client.recv(1024):
    reply += data
print(reply.decode(), end="")
client.close()
