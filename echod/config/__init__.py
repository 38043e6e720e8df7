"""Reads configuration files into one frozen `Configuration`, or reports every error of all files at once.

`loading` is the entry point, `settings` has the result, and `schema` lists all keys.
"""
