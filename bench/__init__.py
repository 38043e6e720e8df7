"""The benchmark: compares echod with other servers on this machine. See README.md and `python -m bench --help`."""
