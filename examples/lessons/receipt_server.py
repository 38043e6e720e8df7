"""Prints the message of one client, and sends a receipt."""

import socket
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print("waiting for a client", file=sys.stderr)

client, address = server.accept()
server.close()
print("message:", client.recv(1024).decode())
client.sendall(b"received")
client.close()
