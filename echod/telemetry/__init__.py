"""What people and programs see of a running daemon: its log, and what its services show."""
