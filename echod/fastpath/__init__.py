"""The fast path: forwards bytes that no service has to see, without creating Python objects for them.

Terms: the *plain path* is that of Twisted, by the ports of `echod.transports`. A *lane* is one listening socket on the
fast path. It replaces a plain port, which it keeps for all cases that are not simple. A *round* is one wait of the
loop, in which each ready descriptor is served once. A *turn* is the work for one descriptor in a round.
"""
