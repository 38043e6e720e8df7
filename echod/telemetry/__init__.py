"""The output of a running daemon: its log, its metrics, and the lines that its services print."""
