"""The receipt server with SO_REUSEADDR: it can be started again at once."""

import socket
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print("waiting for a client", file=sys.stderr)

client, address = server.accept()
server.close()
print("message:", client.recv(1024).decode())
client.sendall(b"received")
client.close()
