"""The bus between the processes of a daemon: messages of chat rooms and consoles, in one order for all."""
