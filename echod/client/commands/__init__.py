"""The commands of echoctl: one module for each, with the name of the command."""
