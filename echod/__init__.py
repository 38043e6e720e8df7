"""echod, the endpoint that people point a socket at."""
