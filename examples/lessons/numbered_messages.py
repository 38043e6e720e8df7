"""Sends twenty numbers to an echo server over UDP, and counts the replies that arrive."""

import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
client.settimeout(5)

for number in range(20):
    client.send(str(number).encode())

arrived = []
try:
    while True:
        arrived.append(int(client.recv(100)))
except TimeoutError:
    print("arrived:", *arrived)

late = [number for at, number in enumerate(arrived) if number < max(arrived[: at + 1])]
print("lost:", *sorted(set(range(20)) - set(arrived)))
print("duplicates:", len(arrived) - len(set(arrived)))
print("after a later one:", *late)
