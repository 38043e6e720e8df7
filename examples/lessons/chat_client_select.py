"""The chat client without a thread: select waits for the terminal and for the socket at once."""

import os
import select
import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sources = [sys.stdin, client]

while True:
    ready, _, _ = select.select(sources, [], [])
    if client in ready:
        data = client.recv(1024)
        if not data:
            break
        os.write(sys.stdout.fileno(), data)
    if sys.stdin in ready:
        data = os.read(sys.stdin.fileno(), 1024)
        if data:
            client.sendall(data)
        else:
            client.shutdown(socket.SHUT_WR)
            sources.remove(sys.stdin)
