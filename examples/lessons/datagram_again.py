"""Sends a datagram again until a reply comes: half of the replies are lost."""

import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(0.2)

tries = 0
while tries < 30:
    tries += 1
    client.sendto(b"drop=0.5\nhello", ("127.0.0.1", int(sys.argv[1])))
    try:
        data, address = client.recvfrom(1024)
    except TimeoutError:
        continue
    print("reply:", data.decode())
    break
else:
    print("no reply to", tries, "datagrams")
