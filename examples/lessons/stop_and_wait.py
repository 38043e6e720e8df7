"""Sends twenty numbers over UDP, each one again until its reply arrives, and drops every other reply."""

import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
client.settimeout(1)
arrived, sent, dropped = [], 0, 0

for number in range(20):
    while len(arrived) == number:
        client.send(str(number).encode())
        sent += 1
        try:
            while (reply := int(client.recv(100))) != number:
                dropped += 1
            arrived.append(reply)
        except TimeoutError:
            pass  # the request or its reply is lost: send again

print("arrived:", *arrived)
print("sent", sent, "datagrams, dropped", dropped, "duplicates")
