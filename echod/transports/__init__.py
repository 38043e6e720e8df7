"""How bytes travel: Twisted protocols, factories and ports. Nothing here knows a service by name."""
