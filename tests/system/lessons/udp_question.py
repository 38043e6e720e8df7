"""A client that sends each line over UDP, and prints each reply with its sender."""

import socket
import sys

address = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(60)

for line in sys.stdin:
    client.sendto(line.strip().encode("utf-8"), address)
    answer, server = client.recvfrom(1024)
    print(answer.decode("utf-8"), "from", server[0], server[1])

client.close()
