"""Sends one message over TLS, and prints the receipt: everything until the server closes."""

import socket
import ssl
import sys

context = ssl.create_default_context(cafile="pki/ca.pem")
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client = context.wrap_socket(plain, server_hostname="localhost")
client.sendall(b"parcel")

receipt = b""
while data := client.recv(1024):
    receipt += data
print("receipt:", receipt.decode())
