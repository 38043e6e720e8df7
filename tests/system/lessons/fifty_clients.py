"""Fifty clients at once, in a thread each: every client must get its own reply."""

import socket
import sys
import threading

address = sys.argv[1], int(sys.argv[2])
together = threading.Barrier(50)
right = []


def client(number):
    with socket.create_connection(address, timeout=60) as connection:
        together.wait(60)
        for turn in range(5):
            message = f"client {number}, turn {turn}"
            connection.sendall(message.encode("utf-8"))
            answer = connection.recv(1024).decode("utf-8")
            if answer != message.upper():
                return
        right.append(number)


threads = [threading.Thread(target=client, args=(number,)) for number in range(50)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(right), "clients were answered")
