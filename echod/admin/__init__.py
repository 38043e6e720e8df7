"""The admin interface: HTTP over a Unix socket, or over TCP for reading. Without socket and reactor."""
