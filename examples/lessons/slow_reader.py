"""Connects, and reads nothing for a minute: the bytes of the server fill the buffers."""

import socket
import sys
import time

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected, and reading nothing", file=sys.stderr)
time.sleep(60)
