"""echoctl: its commands, and what they share; `main` runs the module in `commands` with the name of the command."""
