"""What was counted within ten minutes, which units were met, and what apps measure of their own."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("flaggate", "0002_lease_and_progress"),)
    operations = (
        migrations.AddField(model_name="count", name="measured", field=models.TextField(null=True)),
        migrations.CreateModel(
            name="Window",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("flag", models.CharField(max_length=200)),
                ("began", models.BigIntegerField(db_index=True)),
                ("attempt", models.IntegerField()),
                ("stage", models.IntegerField()),
                ("arm", models.CharField(max_length=20)),
                ("requests", models.BigIntegerField()),
                ("errors", models.BigIntegerField()),
                ("histogram", models.TextField()),
                ("measured", models.TextField()),
            ],
            options={
                "db_table": "flaggate_django_window",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("flag", "began", "attempt", "stage", "arm"), name="flaggate_window_once"
                    )
                ],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="UnitSet",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("flag", models.CharField(max_length=200)),
                ("attempt", models.IntegerField()),
                ("stage", models.IntegerField()),
                ("metric", models.CharField(max_length=200)),
                ("span", models.IntegerField()),
                ("began", models.BigIntegerField()),
                ("arm", models.CharField(max_length=20)),
                ("units", models.IntegerField()),
                ("bad", models.BigIntegerField()),
                ("squares", models.BigIntegerField()),
            ],
            options={
                "db_table": "flaggate_django_unit_set",
                "indexes": [models.Index(fields=["flag", "attempt", "stage"], name="flaggate_unit_set_place")],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Unit",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("unit_set", models.BigIntegerField()),
                ("unit", models.CharField(max_length=32)),
                ("bad", models.BigIntegerField()),
            ],
            options={
                "db_table": "flaggate_django_unit",
                "constraints": [models.UniqueConstraint(fields=("unit_set", "unit"), name="flaggate_unit_once")],
                "default_permissions": (),
            },
        ),
    )
