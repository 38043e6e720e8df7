"""The levels between a socket and a conversation: their interface, and the layers."""
