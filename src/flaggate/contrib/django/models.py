"""The tables of the store on the Django ORM. Only `flaggate.contrib.django.store` reads and writes them.

Documents are JSON in a TextField, not a JSONField: what was written comes back as it was, on every database. PostgreSQL's
jsonb and MySQL's JSON sort keys and change numbers, and a JSONField's null is not NULL, which says here that a row is gone.

The names of the tables are not those of `flaggate.stores.sql`: both stores may be in one SQLite file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from flaggate.stores.base import Arm

__all__ = ["Count", "Event", "Lease", "Ledger", "Presence", "Process", "Progress", "Row", "Unit", "UnitSet", "Window"]


class Ledger(models.Model):
    """One row for what is written, one for what is counted, one for the lease and what its holder keeps. Each write
    changes its row first, which locks it.
    """

    name: models.CharField[str, str] = models.CharField(max_length=20, primary_key=True)
    identity: models.CharField[str, str] = models.CharField(max_length=32)
    revision: models.BigIntegerField[int, int] = models.BigIntegerField()

    objects = models.Manager["Ledger"]()

    class Meta:
        db_table = "flaggate_django_ledger"
        default_permissions = ()


class Row(models.Model):
    """A flag, a segment, or which definitions file was applied."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    kind: models.CharField[str, str] = models.CharField(max_length=20)
    name: models.CharField[str, str] = models.CharField(max_length=200)
    version: models.BigIntegerField[int, int] = models.BigIntegerField()
    revision: models.BigIntegerField[int, int] = models.BigIntegerField(db_index=True)
    document: models.TextField[str | None, str | None] = models.TextField(null=True)  # JSON; NULL = removed

    objects = models.Manager["Row"]()

    class Meta:
        db_table = "flaggate_django_row"
        constraints = (models.UniqueConstraint(fields=["kind", "name"], name="flaggate_row_once"),)
        verbose_name = "flag"
        default_permissions = ("view",)
        permissions = (
            ("edit", "Can make and edit flags"),
            ("advance", "Can start, resume, advance and complete rollouts, and turn flags on"),
            ("approve", "Can approve that stages are left"),
            ("roll_back", "Can pause, step back and roll back rollouts, and turn flags off"),
            ("kill", "Can kill flags"),
            ("unkill", "Can unkill flags"),
        )

    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """What changed, who did it, why. Append-only."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    kind: models.CharField[str, str] = models.CharField(max_length=20)
    name: models.CharField[str, str] = models.CharField(max_length=200, db_index=True)
    verb: models.CharField[str, str] = models.CharField(max_length=20)
    actor: models.TextField[str, str] = models.TextField()
    at: models.CharField[str, str] = models.CharField(max_length=40)  # ISO 8601 with offset, whatever USE_TZ says
    reason: models.TextField[str | None, str | None] = models.TextField(null=True)
    before: models.TextField[str | None, str | None] = models.TextField(null=True)
    after: models.TextField[str | None, str | None] = models.TextField(null=True)
    evidence: models.TextField[str, str] = models.TextField()

    objects = models.Manager["Event"]()

    class Meta:
        db_table = "flaggate_django_event"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.at} {self.actor} {self.verb} {self.name}"


class Count(models.Model):
    """The sums of one flag, where it stood, of one arm."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    flag: models.CharField[str, str] = models.CharField(max_length=200)
    attempt: models.IntegerField[int, int] = models.IntegerField()
    stage: models.IntegerField[int, int] = models.IntegerField()
    arm: models.CharField[str, str] = models.CharField(max_length=20)
    requests: models.BigIntegerField[int, int] = models.BigIntegerField()
    errors: models.BigIntegerField[int, int] = models.BigIntegerField()
    histogram: models.TextField[str, str] = models.TextField()  # JSON
    # JSON. For processes of an older flaggate that count during a deploy; no db_default, which MySQL does not take for a text.
    measured: models.TextField[str | None, str | None] = models.TextField(null=True)

    objects = models.Manager["Count"]()

    class Meta:
        db_table = "flaggate_django_count"
        constraints = (models.UniqueConstraint(fields=["flag", "attempt", "stage", "arm"], name="flaggate_count_once"),)
        default_permissions = ()


class Window(models.Model):
    """The sums of ten minutes."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    flag: models.CharField[str, str] = models.CharField(max_length=200)
    began: models.BigIntegerField[int, int] = models.BigIntegerField(db_index=True)  # Unix time
    attempt: models.IntegerField[int, int] = models.IntegerField()
    stage: models.IntegerField[int, int] = models.IntegerField()
    arm: models.CharField[str, str] = models.CharField(max_length=20)
    requests: models.BigIntegerField[int, int] = models.BigIntegerField()
    errors: models.BigIntegerField[int, int] = models.BigIntegerField()
    histogram: models.TextField[str, str] = models.TextField()  # JSON
    measured: models.TextField[str, str] = models.TextField()  # JSON

    objects = models.Manager["Window"]()

    class Meta:
        db_table = "flaggate_django_window"
        constraints = (
            models.UniqueConstraint(fields=["flag", "began", "attempt", "stage", "arm"], name="flaggate_window_once"),
        )
        default_permissions = ()


class UnitSet(models.Model):
    """The units of one arm that are counted together, in sums."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    flag: models.CharField[str, str] = models.CharField(max_length=200)
    attempt: models.IntegerField[int, int] = models.IntegerField()
    stage: models.IntegerField[int, int] = models.IntegerField()
    metric: models.CharField[str, str] = models.CharField(max_length=200)
    span: models.IntegerField[int, int] = models.IntegerField()  # seconds; 0 = the whole stage
    began: models.BigIntegerField[int, int] = models.BigIntegerField()  # Unix time
    arm: models.CharField[Arm, Arm] = models.CharField(max_length=20)
    units: models.IntegerField[int, int] = models.IntegerField()
    bad: models.BigIntegerField[int, int] = models.BigIntegerField()
    squares: models.BigIntegerField[int, int] = models.BigIntegerField()

    objects = models.Manager["UnitSet"]()

    class Meta:
        db_table = "flaggate_django_unit_set"
        # Not unique: metrics are named by people, and MySQL compares without regard to case.
        indexes = (models.Index(fields=["flag", "attempt", "stage"], name="flaggate_unit_set_place"),)
        default_permissions = ()


class Unit(models.Model):
    """One of a set, and how many of its requests were bad."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    unit_set: models.BigIntegerField[int, int] = models.BigIntegerField()
    unit: models.CharField[str, str] = models.CharField(max_length=32)  # hexadecimal
    bad: models.BigIntegerField[int, int] = models.BigIntegerField()

    objects = models.Manager["Unit"]()

    class Meta:
        db_table = "flaggate_django_unit"
        constraints = (models.UniqueConstraint(fields=["unit_set", "unit"], name="flaggate_unit_once"),)
        default_permissions = ()


class Process(models.Model):
    """Up to which report a process's counts were added."""

    id: models.CharField[str, str] = models.CharField(max_length=32, primary_key=True)
    sequence: models.BigIntegerField[int, int] = models.BigIntegerField()
    seen: models.BigIntegerField[int, int] = models.BigIntegerField(db_index=True)  # Unix time

    objects = models.Manager["Process"]()

    class Meta:
        db_table = "flaggate_django_process"
        default_permissions = ()


class Lease(models.Model):
    """Which process ticks. One row."""

    id: models.IntegerField[int, int] = models.IntegerField(primary_key=True)
    holder: models.CharField[str, str] = models.CharField(max_length=32)
    who: models.TextField[str, str] = models.TextField()
    renewed_at: models.FloatField[float, float] = models.FloatField()  # Unix time
    seconds: models.FloatField[float, float] = models.FloatField()

    objects = models.Manager["Lease"]()

    class Meta:
        db_table = "flaggate_django_lease"
        default_permissions = ()


class Progress(models.Model):
    """What the lease's holder keeps of a rollout beside its row."""

    name: models.CharField[str, str] = models.CharField(max_length=200, primary_key=True)
    document: models.TextField[str, str] = models.TextField()  # JSON

    objects = models.Manager["Progress"]()

    class Meta:
        db_table = "flaggate_django_progress"
        default_permissions = ()


class Presence(models.Model):
    """What a process that serves flags says of itself."""

    process: models.CharField[str, str] = models.CharField(max_length=32, primary_key=True)
    who: models.TextField[str, str] = models.TextField()
    revision: models.BigIntegerField[int, int] = models.BigIntegerField()
    asked_seconds: models.FloatField[float, float] = models.FloatField()
    every_seconds: models.FloatField[float, float] = models.FloatField()
    said_at: models.FloatField[float, float] = models.FloatField()  # Unix time

    objects = models.Manager["Presence"]()

    class Meta:
        db_table = "flaggate_django_presence"
        default_permissions = ()
