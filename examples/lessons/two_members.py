"""Joins a chat twice, as Anna and as Bea, and prints what each of them receives."""

import socket
import sys


class Member:
    def __init__(self, nick):
        self.nick = nick
        self.client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
        self.lines = self.client.makefile("r", encoding="utf-8", newline="\n")
        self.receive()
        self.send(f"/nick {nick}")
        self.receive()

    def send(self, line):
        self.client.sendall(f"{line}\n".encode())

    def receive(self):
        print(f"{self.nick} reads:", self.lines.readline(), end="")


anna, bea = Member("anna"), Member("bea")
for _ in range(2):
    anna.receive()
anna.send("hello")
bea.receive()
bea.send("/who")
bea.receive()
anna.send("/quit")
anna.receive()
bea.receive()
