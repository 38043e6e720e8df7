"""Fault injection: the faults of a service, and the decisions when to inject them. Pure; the clock is an argument."""
