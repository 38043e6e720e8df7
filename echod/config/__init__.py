"""The configuration: files in, one frozen `Configuration` out, or every fault of all of them at once.

`loading` is the door; `schema` is what comes out of it; `keys` is the whole grammar as one table.
"""
