"""Worker processes: the parent that holds the sockets, and the processes that serve them."""
