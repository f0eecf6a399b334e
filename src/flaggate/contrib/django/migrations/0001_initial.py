"""The tables as they began."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Ledger",
            fields=[
                ("name", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("identity", models.CharField(max_length=32)),
                ("revision", models.BigIntegerField()),
            ],
            options={"db_table": "flaggate_django_ledger", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Row",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=20)),
                ("name", models.CharField(max_length=200)),
                ("version", models.BigIntegerField()),
                ("revision", models.BigIntegerField(db_index=True)),
                ("document", models.TextField(null=True)),
            ],
            options={
                "db_table": "flaggate_django_row",
                "constraints": [models.UniqueConstraint(fields=("kind", "name"), name="flaggate_row_once")],
                "verbose_name": "flag",
                "default_permissions": ("view",),
                "permissions": (
                    ("advance", "Can start, resume, advance and complete rollouts, and turn flags on"),
                    ("roll_back", "Can pause, step back and roll back rollouts, and turn flags off"),
                    ("kill", "Can kill flags"),
                    ("unkill", "Can unkill flags"),
                ),
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=20)),
                ("name", models.CharField(db_index=True, max_length=200)),
                ("verb", models.CharField(max_length=20)),
                ("actor", models.TextField()),
                ("at", models.CharField(max_length=40)),
                ("reason", models.TextField(null=True)),
                ("before", models.TextField(null=True)),
                ("after", models.TextField(null=True)),
                ("evidence", models.TextField()),
            ],
            options={"db_table": "flaggate_django_event", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Count",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("flag", models.CharField(max_length=200)),
                ("attempt", models.IntegerField()),
                ("stage", models.IntegerField()),
                ("arm", models.CharField(max_length=20)),
                ("requests", models.BigIntegerField()),
                ("errors", models.BigIntegerField()),
                ("histogram", models.TextField()),
            ],
            options={
                "db_table": "flaggate_django_count",
                "constraints": [
                    models.UniqueConstraint(fields=("flag", "attempt", "stage", "arm"), name="flaggate_count_once")
                ],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Process",
            fields=[
                ("id", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("sequence", models.BigIntegerField()),
                ("seen", models.BigIntegerField(db_index=True)),
            ],
            options={"db_table": "flaggate_django_process", "default_permissions": ()},
        ),
    )
