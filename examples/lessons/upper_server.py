"""Sends back in upper case what a client sends, one client after another."""

import socket
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print("waiting for clients", file=sys.stderr)

while True:
    client, address = server.accept()
    while True:
        data = client.recv(1024)
        if not data:
            break
        client.sendall(data.upper())
    client.close()
