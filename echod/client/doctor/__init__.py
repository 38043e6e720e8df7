"""`echoctl doctor`: the facts of a machine, and the checks of a configuration against them."""
