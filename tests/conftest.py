"""For all tests: on a busy machine no single example is too slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("flaggate", deadline=None)
settings.load_profile("flaggate")
