"""Sends each typed line as a datagram, and waits for no reply."""

import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

for line in sys.stdin:
    client.sendto(line.strip().encode(), ("127.0.0.1", int(sys.argv[1])))
