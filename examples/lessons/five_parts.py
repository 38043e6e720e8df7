"""Prints the parts of a socket, as this program knows them and as the server `whoami` does."""

import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("127.0.0.1", int(sys.argv[1])))

print("local: ", client.getsockname())
print("remote:", client.getpeername())
print("whoami:", client.makefile().readline(), end="")
client.close()
