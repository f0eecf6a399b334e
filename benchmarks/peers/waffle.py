"""django-waffle, its flags in SQLite and its cache in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import FLAG, PILOT, Row


def set_up(folder: Path) -> None:
    """A Django project with nothing but users, groups and flags."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="bench",  # of nobody
        INSTALLED_APPS=[
            "django.contrib.auth", "django.contrib.contenttypes", "waffle", "benchmarks.peers.waffle_flag"
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "flags.sqlite3")}},
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 10_000}}
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        WAFFLE_FLAG_MODEL="waffle_flag.PlanFlag",
    )  # fmt: skip
    django.setup()


class Waffle:
    """`flag_is_active(request, name)`."""

    name = "django-waffle"
    distribution = "django-waffle"
    imports = "from waffle import flag_is_active"
    context = "request_of(row)"
    ask = "flag_is_active(request=context, flag_name=flag)"
    all = ""
    note = (
        "Staff, the two groups and the tenth are its own; whom it denies and Manchester's half are ours, in a flag "
        "model of the app's. Its shares are dice, kept in a cookie. Each question of a flag with groups asks the "
        "database for the user's."
    )
    has_segments = True
    is_dice = True

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        set_up(folder)
        from django.contrib.auth.models import Group, User
        from django.core.management import call_command
        from waffle import get_waffle_flag_model

        call_command("migrate", verbosity=0, run_syncdb=True)
        model = get_waffle_flag_model()
        groups = [Group.objects.create(name=name) for name in ("beta", "enterprise", "print")]
        plan = model.objects.bulk_create(
            model(name=flag, staff=True, superusers=False, percent=10, is_plan=True) for flag in flags
        )
        model.groups.through.objects.bulk_create(
            model.groups.through(planflag_id=flag.pk, group_id=group.pk) for flag in plan for group in groups[:2]
        )
        if members:
            pilot = model.objects.create(name=PILOT, superusers=False)
            users = User.objects.bulk_create(User(username=member) for member in members)
            model.users.through.objects.bulk_create(
                (model.users.through(planflag_id=pilot.pk, user_id=user.pk) for user in users), batch_size=10_000
            )

    def load(self, folder: Path, rows: Sequence[Row]) -> dict[str, Any]:
        set_up(folder)
        from django.test import RequestFactory
        from waffle import flag_is_active, get_waffle_flag_model

        request_of = _Requests(rows).of
        request = RequestFactory().get("/")
        for name in [FLAG, *get_waffle_flag_model().objects.values_list("name", flat=True)]:
            flag_is_active(request, name)  # it reads each at its first question
        return {"flag_is_active": flag_is_active, "request_of": request_of}


class _Requests:
    """Requests of people who are in the database."""

    def __init__(self, rows: Sequence[Row]) -> None:
        from django.contrib.auth.models import Group, User
        from django.test import RequestFactory

        self._new = RequestFactory().get
        self._user = User
        known = dict(User.objects.values_list("username", "pk"))
        User.objects.bulk_create(User(username=row["user"]) for row in rows if row["user"] not in known)
        self._keys = dict(User.objects.values_list("username", "pk"))
        groups = dict(Group.objects.values_list("name", "pk"))
        through = User.groups.through
        through.objects.bulk_create(
            through(user_id=self._keys[row["user"]], group_id=groups[name])
            for row in rows
            for name in [*row["groups"], row["tier"]]
            if name in groups
        )

    def of(self, row: Row) -> Any:
        """A request of the row's person, as the session would bring it."""
        request: Any = self._new("/")
        user: Any = self._user(pk=self._keys.get(row["user"], 0), username=row["user"], is_staff=row["staff"])
        user.row = row
        request.user = user
        return request


peer: Peer = Waffle()
