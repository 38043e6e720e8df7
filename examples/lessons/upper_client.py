"""Sends each typed line to a server, and prints the reply. `exit` leaves."""

import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("127.0.0.1", int(sys.argv[1])))

while True:
    line = input("> ")
    if line == "exit":
        break
    client.send(line.encode())
    reply = client.recv(1024)
    print(reply.decode())

client.close()
