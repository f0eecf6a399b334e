"""The seed plan: five stages from staff to everyone. It is the demo's, so that nobody keeps it twice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SEED: Final = Path(__file__).parents[1] / "src" / "flaggate" / "cli" / "demo" / "plan.toml"
