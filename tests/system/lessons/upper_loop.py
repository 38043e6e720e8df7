"""A client that sends typed lines and prints the replies, until `exit` is typed."""

import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.settimeout(60)
client.connect((host, port))

while True:
    message = input("> ")
    if message == "exit":
        break
    client.send(message.encode("utf-8"))
    answer = client.recv(1024)
    print(answer.decode("utf-8"))

client.close()
