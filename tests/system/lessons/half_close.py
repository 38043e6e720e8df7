"""A client that sends everything, half-closes, and then reads until the server closes."""

import socket
import sys

address = sys.argv[1], int(sys.argv[2])

client = socket.create_connection(address, timeout=60)
sent = sys.stdin.buffer.read()
client.sendall(sent)
client.shutdown(socket.SHUT_WR)

received = b""
while True:
    data = client.recv(4096)
    if not data:
        break
    received += data

client.close()
print(len(received), "bytes came back,", "the same" if received == sent else "others")
