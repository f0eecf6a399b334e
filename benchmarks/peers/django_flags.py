"""django-flags, its flags in the settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import DENIED, Row, half, tenth

_SEED = (
    {"condition": "not denied", "value": True, "required": True},
    {"condition": "staff", "value": True},
    {"condition": "half of", "value": "Manchester, GB"},
    {"condition": "group", "value": "beta"},
    {"condition": "tier", "value": "enterprise"},
    {"condition": "tenth", "value": True},
)


def _conditions() -> dict[str, Any]:
    """The app's own: of the built-in ones (user, path, parameter, dates) the plan needs none."""

    def half_of(value: str, request: Any, **_: Any) -> bool:
        row = request.row
        return f"{row['city']}, {row['country']}" == value and half(row["user"])

    return {
        "not denied": lambda _value, request, **_: request.row["account"] not in DENIED,
        "staff": lambda _value, request, **_: request.row["staff"],
        "half of": half_of,
        "group": lambda value, request, **_: value in request.row["groups"],
        "tier": lambda value, request, **_: request.row["tier"] == value,
        "tenth": lambda _value, request, **_: tenth(request.row["user"]),
    }


class DjangoFlags:
    """`flag_enabled(name, request=request)`."""

    name = "django-flags"
    distribution = "django-flags"
    imports = "from flags.state import flag_enabled"
    context = "request_of(row)"
    ask = "flag_enabled(flag, request=context)"
    all = ""
    note = (
        "Each condition is a function of the app's, shares included. A request's first question reads all flags, which "
        "the request keeps: here they are read from the settings alone, and not from the database, too. No lists: a "
        "condition for each user, of which each question asks all."
    )
    has_segments = False
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], _members: Sequence[str]) -> None:
        (folder / "flags.json").write_text(json.dumps(dict.fromkeys(flags, _SEED)))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        import django
        from django.conf import settings

        settings.configure(
            SECRET_KEY="bench",  # of nobody
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "flags"],
            FLAGS=json.loads((folder / "flags.json").read_text()),
            FLAG_SOURCES=["flags.sources.SettingsFlagsSource"],
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        )
        django.setup()
        from django.contrib.auth.models import User
        from django.test import RequestFactory
        from flags.conditions import register
        from flags.state import flag_enabled

        for name, condition in _conditions().items():
            register(name, fn=condition)
        new = RequestFactory().get

        def request_of(row: Row) -> Any:
            request: Any = new("/")
            request.user = User(username=row["user"], is_staff=row["staff"])
            request.row = row
            return request

        return {"flag_enabled": flag_enabled, "request_of": request_of}


peer: Peer = DjangoFlags()
