"""Sends an ICMP echo request through a raw socket, and prints the reply of the kernel (RFC 792)."""

import socket
import struct


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return 0xFFFF - (total % 0xFFFF)


def request(sum_of_all):
    return struct.pack("!BBHHH", 8, 0, sum_of_all, 1, 1) + b"hello!"


client = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
client.settimeout(5)
client.sendto(request(checksum(request(0))), ("127.0.0.1", 0))

while (packet := client.recv(1024))[20] != 0:
    pass  # over loopback, the socket also receives the request, whose type is 8
print("header of IP:  ", packet[:20].hex(" "))
print("header of ICMP:", packet[20:28].hex(" "))
print("data:          ", packet[28:])
