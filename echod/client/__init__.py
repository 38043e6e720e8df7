"""echoctl: everything a person types. One file a command; `main` knows them by name."""
