"""A chat bot: answers each line `ping WORD` with `pong WORD`."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))

for line in client.makefile("r", encoding="utf-8", newline="\n"):
    if line.startswith("ping "):
        client.sendall(line.replace("ping", "pong", 1).encode())

client.close()
