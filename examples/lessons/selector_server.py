"""The upper-case server with a selector: one thread waits for all sockets at once."""

import selectors
import socket
import sys

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
waiting = selectors.DefaultSelector()
waiting.register(server, selectors.EVENT_READ)
print("waiting for clients", file=sys.stderr)

while True:
    for ready, _ in waiting.select():
        if ready.fileobj is server:
            client, address = server.accept()
            waiting.register(client, selectors.EVENT_READ)
            continue
        client = ready.fileobj
        try:
            data = client.recv(1024)
            client.sendall(data.upper())
        except ConnectionError:
            data = b""
        if not data:
            waiting.unregister(client)
            client.close()
