"""Flask-FeatureFlags, in an app's context."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import Row, by_hand_of_row

PLAN = "seed plan"


class FlaskFeatureFlags:
    """`feature_flags.is_active(name)`."""

    name = "Flask-FeatureFlags"
    distribution = "Flask-FeatureFlags"
    imports = "import flask_featureflags"
    context = "row"
    ask = "is_active(flag, context)"
    all = ""
    note = (
        "It has on and off; the plan is a handler of the app's, the function by hand, which finds who asks in `g`. Set "
        "for each question, as one request does once. No lists."
    )
    has_segments = False
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], _members: Sequence[str]) -> None:
        (folder / "config.json").write_text(json.dumps(dict.fromkeys(flags, PLAN)))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        import flask_featureflags as feature_flags
        from flask import Flask, current_app, g

        app = Flask("bench")
        app.config["FEATURE_FLAGS"] = json.loads((folder / "config.json").read_text())
        known = feature_flags.FeatureFlag(app)

        def handler(feature: str) -> bool:
            if current_app.config["FEATURE_FLAGS"].get(feature) is None:
                raise feature_flags.NoFeatureFlagFound
            return by_hand_of_row(g.row)

        known.clear_handlers()
        known.add_handler(handler)
        app.app_context().push()

        def is_active(flag: str, row: Row) -> Any:
            g.row = row
            return feature_flags.is_active(flag)

        return {"is_active": is_active}


peer: Peer = FlaskFeatureFlags()
