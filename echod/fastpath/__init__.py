"""The fast data plane: bytes that no service has to see go through without becoming Python objects.

Its words: the *plain way* is Twisted's, by the ports of `echod.transports`. A *lane* is one listening socket on the
plane; it stands in the place of the plain port, which it keeps for whatever is not simple. A *round* is one wait of the
loop, in which each descriptor that is ready is served once; a *turn* is what is done for one before others have theirs.
"""
