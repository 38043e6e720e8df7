"""The same server. At its start it removes the file of a server that has ended, and only that."""

import os
import socket
import sys

path = sys.argv[1]
try:
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(path)
    sys.exit("another server uses this path")
except FileNotFoundError:
    pass
except ConnectionRefusedError:
    os.unlink(path)

server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind(path)
server.listen()
print("waiting for clients", file=sys.stderr)

while True:
    client, _ = server.accept()
    while data := client.recv(1024):
        client.sendall(data.upper())
    client.close()
