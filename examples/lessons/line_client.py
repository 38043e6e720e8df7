"""Sends each line with its line end, and prints the reply to it: a line too, which may be empty."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
replies = client.makefile("r", encoding="utf-8", newline="\n")

for line in sys.stdin:
    client.sendall(line.encode())
    print("reply:", replies.readline(), end="")

client.close()
