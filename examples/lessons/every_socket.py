"""Connects seven kinds of sockets to `whoami`, and prints their address and the reply."""

import json
import os
import socket
import sys

port, folder = int(sys.argv[1]), sys.argv[2]

for family, kind, address in (
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", port)),
    (socket.AF_INET6, socket.SOCK_DGRAM, ("::1", port)),
    (socket.AF_UNIX, socket.SOCK_STREAM, f"{folder}/whoami.sock"),
    (socket.AF_UNIX, socket.SOCK_DGRAM, f"{folder}/whoami.dgram"),
    (socket.AF_UNIX, socket.SOCK_SEQPACKET, f"{folder}/whoami.seq"),
):
    with socket.socket(family, kind) as client:
        if (family, kind) == (socket.AF_UNIX, socket.SOCK_DGRAM):
            client.bind(f"\0client-{os.getpid()}")
        client.connect(address)
        client.send(b"Which socket is this?")
        reply = json.loads(client.recv(1024))
        print(family.name, kind.name, client.getsockname())
        print("   ", reply["protocol"], reply.get("remote_address", reply.get("remote_path")))
