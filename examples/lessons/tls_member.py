"""Presents a certificate of its own, and prints what the server knows about the connection."""

import json
import socket
import ssl
import sys

context = ssl.create_default_context(cafile="pki/ca.pem")
context.load_cert_chain("pki/client.pem", "pki/client-key.pem")

plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
with context.wrap_socket(plain, server_hostname="localhost") as client:
    known = json.loads(client.makefile().readline())["tls"]
print("version:", known["version"])
print("name:   ", known["server_name"])
print("client: ", known["certificate"]["subject"])
print("issuer: ", known["certificate"]["issuer"])
