"""The load of `echoctl bench`: its loop, its connections, the verification of replies, and the counts."""
