"""The fast data plane: bytes that no service has to see go through without becoming Python objects."""
