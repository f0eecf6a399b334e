"""What processes say of themselves, and who may make and edit flags in the console."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("flaggate", "0003_windows_and_units"),)
    operations = (
        migrations.CreateModel(
            name="Presence",
            fields=[
                ("process", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("who", models.TextField()),
                ("revision", models.BigIntegerField()),
                ("asked_seconds", models.FloatField()),
                ("every_seconds", models.FloatField()),
                ("said_at", models.FloatField()),
            ],
            options={"db_table": "flaggate_django_presence", "default_permissions": ()},
        ),
        migrations.AlterModelOptions(
            name="row",
            options={
                "default_permissions": ("view",),
                "permissions": (
                    ("edit", "Can make and edit flags"),
                    ("advance", "Can start, resume, advance and complete rollouts, and turn flags on"),
                    ("approve", "Can approve that stages are left"),
                    ("roll_back", "Can pause, step back and roll back rollouts, and turn flags off"),
                    ("kill", "Can kill flags"),
                    ("unkill", "Can unkill flags"),
                ),
                "verbose_name": "flag",
            },
        ),
    )
