"""The lease, what its holder keeps, and the right to approve."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("flaggate", "0001_initial"),)
    operations = (
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("id", models.IntegerField(primary_key=True, serialize=False)),
                ("holder", models.CharField(max_length=32)),
                ("who", models.TextField()),
                ("renewed_at", models.FloatField()),
                ("seconds", models.FloatField()),
            ],
            options={"db_table": "flaggate_django_lease", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Progress",
            fields=[
                ("name", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("document", models.TextField()),
            ],
            options={"db_table": "flaggate_django_progress", "default_permissions": ()},
        ),
        migrations.AlterModelOptions(
            name="row",
            options={
                "verbose_name": "flag",
                "default_permissions": ("view",),
                "permissions": (
                    ("advance", "Can start, resume, advance and complete rollouts, and turn flags on"),
                    ("approve", "Can approve that stages are left"),
                    ("roll_back", "Can pause, step back and roll back rollouts, and turn flags off"),
                    ("kill", "Can kill flags"),
                    ("unkill", "Can unkill flags"),
                ),
            },
        ),
    )
