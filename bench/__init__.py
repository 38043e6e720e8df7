"""The benchmark: echod against its peers on this machine; `python -m bench --help`, and README.md beside this."""
