"""TLS without sockets: profiles, certificates, contexts, and the facts and errors of a handshake."""
