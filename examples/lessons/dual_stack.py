"""Accepts a client over IPv4 and one over IPv6 at one socket of IPv6, and prints their addresses."""

import socket
import sys

port = int(sys.argv[1])
server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("::", port))
server.listen()

for host in ("127.0.0.1", "::1"):
    client = socket.create_connection((host, port), timeout=5)
    accepted, address = server.accept()
    print(f"{host} is {address[0]}")
