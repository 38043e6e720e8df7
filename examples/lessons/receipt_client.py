"""Sends one message, and prints the receipt: everything until the server closes."""

import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(sys.argv[2].encode())

receipt = b""
while data := client.recv(1024):
    receipt += data
print(receipt.decode())
client.close()
