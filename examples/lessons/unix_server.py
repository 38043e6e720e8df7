"""Sends back in upper case what a client sends over a Unix socket, one client after another."""

import socket
import sys

server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind(sys.argv[1])
server.listen()
print("waiting for clients", file=sys.stderr)

while True:
    client, _ = server.accept()
    while data := client.recv(1024):
        client.sendall(data.upper())
    client.close()
