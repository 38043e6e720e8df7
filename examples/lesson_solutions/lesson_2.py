"""Reads a message until the server half-closes, and sends the number of its characters."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
data = b""
while piece := client.recv(1024):
    data += piece

client.sendall(str(len(data.decode())).encode())
client.close()
