"""Prints what each recv returns as a message: eight bytes, which are not a line."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"chunk=8\nhello Anna\nhi\nbye\n")
client.shutdown(socket.SHUT_WR)

while data := client.recv(8):
    print("message:", data)
