"""Shows the operator each message of a client, and sends what the operator types."""

import socket
import sys

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("waiting for a client", file=sys.stderr)

client, address = server.accept()
while data := client.recv(1024):
    print("client:", data.decode())
    client.sendall(input().encode())
client.close()
