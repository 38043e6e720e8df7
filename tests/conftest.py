"""What all tests share."""

from hypothesis import settings

# Where two cores are shared, a slow example is no wrong one.
settings.register_profile("house", settings(), deadline=None)
settings.load_profile("house")
