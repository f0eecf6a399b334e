"""For all tests: on a busy machine no single example is too slow."""

from __future__ import annotations

import os

from hypothesis import settings

# In CI the same examples every time: what is red there is red for a reason in the change.
settings.register_profile("flaggate", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("flaggate")
