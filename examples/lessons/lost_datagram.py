"""Waits for the reply to a datagram that is lost on the way."""

import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(1)
client.sendto(b"drop=1\nhello", ("127.0.0.1", int(sys.argv[1])))

data, address = client.recvfrom(1024)
print("reply:", data.decode())
