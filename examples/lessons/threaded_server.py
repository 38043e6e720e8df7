"""The upper-case server with a thread for each client: they do not wait for each other."""

import socket
import sys
import threading


def serve(client):
    try:
        while data := client.recv(1024):
            client.sendall(data.upper())
    except ConnectionError:
        pass
    client.close()


server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("waiting for clients", file=sys.stderr)

while True:
    client, address = server.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
