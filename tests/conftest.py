"""Settings for all tests."""

from hypothesis import settings

# Time limits for one example measure the machine; pytest-timeout catches what hangs.
settings.register_profile("mesh", deadline=None)
settings.load_profile("mesh")
