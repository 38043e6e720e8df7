"""The first client sends much and reads no reply. The second sends a message, and waits for its reply."""

import socket
import sys

server = ("127.0.0.1", int(sys.argv[1]))
first = socket.create_connection(server, timeout=1)
try:
    first.sendall(bytes(20_000_000))
except TimeoutError:
    pass

second = socket.create_connection(server, timeout=3)
second.sendall(b"hello")
try:
    print("the second client got", second.recv(1024).decode())
except TimeoutError:
    print("the second client waits")
