"""Prints the bytes of a client's frame with a text (RFC 6455, section 5)."""

import sys

data = sys.argv[1].encode()
mask = bytes.fromhex(sys.argv[2])
masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
head = bytes([0x81, 0x80 | len(data)])

print("text:  ", data.hex(" "))
print("mask:  ", (mask * len(data))[: len(data)].hex(" "))
print("masked:", masked.hex(" "))
print("frame: ", (head + mask + masked).hex(" "))
print("bits:  ", f"{head[0]:08b} {head[1]:08b}")
