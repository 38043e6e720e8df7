"""Sends 32 MiB in a thread, and counts meanwhile what comes back."""

import socket
import sys
import threading

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))


def send():
    client.sendall(bytes(33554432))
    client.shutdown(socket.SHUT_WR)


threading.Thread(target=send).start()
count = 0
while data := client.recv(65536):
    count += len(data)
print(count)
client.close()
