"""Prints what others say while it waits for typed lines: a thread reads, and the main thread sends."""

import socket
import sys
import threading


def show(client):
    for line in client.makefile("r", encoding="utf-8"):
        print(line, end="", flush=True)


client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
reader = threading.Thread(target=show, args=(client,))
reader.start()

for line in sys.stdin:
    client.sendall(line.encode())
client.shutdown(socket.SHUT_WR)
reader.join()
