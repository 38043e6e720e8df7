"""Sends twenty numbers over TCP, and waits for each reply. The kernel drops a share of the packets that arrive."""

import ctypes
import socket
import struct
import sys
import time


def drop(client, share):
    """Attach a filter (BPF) to the socket: a packet is dropped if a random number of 32 bits is below the limit."""
    random, limit, nothing, all_of_it = 0xFFFFF038, int(share * 2**32), 0, 65535
    steps = [(0x20, 0, 0, random), (0x35, 1, 0, limit), (6, 0, 0, nothing), (6, 0, 0, all_of_it)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    client.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", len(steps), ctypes.addressof(program)))


client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60)
replies = client.makefile()
drop(client, float(sys.argv[2]))

arrived, waits = [], []
for number in range(20):
    sent = time.monotonic()
    client.sendall(f"{number}\n".encode())
    arrived.append(int(replies.readline()))
    waits.append(time.monotonic() - sent)

print("arrived:", *arrived)
print(f"longest wait: {max(waits) * 1000:.1f} ms")
