"""Connects two clients. The first sends nothing; the second sends a message, and waits for its reply."""

import socket
import sys

server = ("127.0.0.1", int(sys.argv[1]))
first = socket.create_connection(server)
second = socket.create_connection(server, timeout=3)
second.sendall(b"hello")

try:
    print("the second client got", second.recv(1024).decode())
except TimeoutError:
    print("the second client waits")
    first.close()
    second.settimeout(10)
    print("the first has closed, and the second got", second.recv(1024).decode())
