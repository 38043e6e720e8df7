"""Fetches the words of a message over UDP: one request at a time, sent again until its own reply arrives."""

import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(0.2)


def ask(request, start):
    while True:
        client.sendto(request.encode(), ("127.0.0.1", int(sys.argv[1])))
        try:
            while not (reply := client.recv(1024).decode()).startswith(start):
                pass  # a reply to an earlier request
            return reply.removeprefix(start)
        except TimeoutError:
            pass  # lost: send again


words = [ask(f"get {number}", f"{number} ") for number in range(1, 11)]
ask("done " + " ".join(words), "thanks")
