"""What holds for every test."""

from hypothesis import settings

# A busy machine is slow, and an example that takes long there says nothing.
settings.register_profile("treadle", deadline=None, print_blob=True)
settings.load_profile("treadle")
