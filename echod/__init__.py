"""echod: an echo daemon, and its client echoctl."""
