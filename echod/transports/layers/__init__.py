"""What is between a socket and a conversation: the interface of every level, and the layers."""
