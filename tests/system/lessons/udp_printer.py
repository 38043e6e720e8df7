"""A client that sends typed lines to a server that prints them, until `exit` is typed. It waits for no reply."""

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
