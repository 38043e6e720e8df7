"""The state of a daemon with several processes, in memory that they share: limits, rates and counters."""
