"""A client that sends one message, prints the receipt, and reads until the server closes."""

import socket
import sys

host, port, message = sys.argv[1], int(sys.argv[2]), sys.argv[3]

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.settimeout(60)
client.connect((host, port))
client.send(message.encode("utf-8"))

while True:
    data = client.recv(1024)
    if not data:
        break
    print(data.decode("utf-8"))

print("the server has closed")
client.close()
