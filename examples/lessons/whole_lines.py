"""Collects bytes until a line end arrives, and keeps the rest for the next recv."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"chunk=8\nhello Anna\nhi\nbye\n")
client.shutdown(socket.SHUT_WR)

rest = b""
while data := client.recv(8):
    *lines, rest = (rest + data).split(b"\n")
    for line in lines:
        print("message:", line.decode())
