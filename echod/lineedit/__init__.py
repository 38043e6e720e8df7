"""A person's terminal: a line that is edited while other lines arrive, and what an operator sees and types."""
