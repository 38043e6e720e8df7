"""Sends a line over TLS, and prints the reply. The arguments: port, name of the server, file of the authority."""

import socket
import ssl
import sys

port, name, *authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority[0] if authority else None)

plain = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
with context.wrap_socket(plain, server_hostname=name) as client:
    print(client.version())
    client.sendall(b"hello\n")
    print(client.makefile().readline(), end="")
