"""The daemon: what the configuration says, bound, served, drained and stopped."""
