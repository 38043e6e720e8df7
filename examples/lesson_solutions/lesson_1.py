"""Sends a name, and prints the reply."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(b"Anna")
print(client.recv(1024).decode())
client.close()
