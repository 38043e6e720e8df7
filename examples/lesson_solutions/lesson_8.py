"""Sends a message over TLS, if the server is localhost by an authority of the file."""

import socket
import ssl
import sys

context = ssl.create_default_context(cafile=sys.argv[2])
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
with context.wrap_socket(plain, server_hostname="localhost") as client:
    client.sendall(b"hello")
    print(client.recv(1024).decode())
