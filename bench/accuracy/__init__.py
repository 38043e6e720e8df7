"""The accuracy of measuring clients: `python -m bench.accuracy`."""
