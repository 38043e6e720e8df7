"""TLS: certificates and contexts. It does not know sockets, layers or services."""
