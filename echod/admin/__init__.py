"""The administrator's interface: HTTP over a Unix socket, or over TCP for reading. No socket, no reactor."""
