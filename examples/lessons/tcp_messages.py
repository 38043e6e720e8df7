"""Sends twenty numbers over TCP to an echo server in a thread, while the kernel drops a share of the replies."""

import ctypes
import socket
import struct
import sys
import threading
import time


def serve(server):
    client, _ = server.accept()
    while data := client.recv(100):
        client.sendall(data)


def drop(client, share):
    """Attach a filter (BPF) to the socket: a packet is dropped if a random number of 32 bits is below the limit."""
    random, limit, nothing, all_of_it = 0xFFFFF038, int(share * 2**32), 0, 65535
    steps = [(0x20, 0, 0, random), (0x35, 1, 0, limit), (6, 0, 0, nothing), (6, 0, 0, all_of_it)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    client.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", len(steps), ctypes.addressof(program)))


server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(server,), daemon=True).start()
client = socket.create_connection(server.getsockname(), timeout=60)
replies = client.makefile()
if share := float(sys.argv[1]):
    drop(client, share)

arrived, waits = [], []
for number in range(20):
    sent = time.monotonic()
    client.sendall(f"{number}\n".encode())
    arrived.append(int(replies.readline()))
    waits.append(time.monotonic() - sent)

print("arrived:", *arrived)
print(f"longest wait: {max(waits) * 1000:.1f} ms")
