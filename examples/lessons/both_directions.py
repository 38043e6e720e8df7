"""Sends in a thread while it reads: the replies find room, so the server goes on reading."""

import socket
import sys
import threading


def send(client, data):
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
data = bytes(50_000_000)
threading.Thread(target=send, args=(client, data)).start()

received = 0
while reply := client.recv(65536):
    received += len(reply)
print("sent", len(data), "bytes, received", received)
