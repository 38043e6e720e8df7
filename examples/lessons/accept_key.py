"""Computes Sec-WebSocket-Accept for the key of a request (RFC 6455, section 1.3)."""

import base64
import hashlib
import sys

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
digest = hashlib.sha1((sys.argv[1] + GUID).encode()).digest()
print(digest.hex(" "))
print(base64.b64encode(digest).decode())
