"""Decodes piece by piece: the decoder keeps the bytes of a character that is not complete yet."""

import codecs
import socket
import sys

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"chunk=128\n" + ("你好，世界。" * 8).encode())
client.shutdown(socket.SHUT_WR)

decoder = codecs.getincrementaldecoder("utf-8")()
while data := client.recv(128):
    print(decoder.decode(data), end="")
print()
