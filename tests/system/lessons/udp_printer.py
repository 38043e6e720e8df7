"""A client that sends what is typed to a server that prints it, until `exit` is typed; it waits for no answer."""

import socket
import sys

address = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

while True:
    message = input("> ")
    client.sendto(message.encode("utf-8"), address)
    if message == "exit":
        break

client.close()
