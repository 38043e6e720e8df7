"""Sends each client its bytes back in upper case, with a thread for each."""

import socket
import sys
import threading


def serve(client):
    while data := client.recv(1024):
        client.sendall(data.upper())
    client.close()


server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, address = server.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
