import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What was compared, what differed and what was found out about it stays as it was written.
GUARDS = "".join(
    f"""
CREATE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
    for table in ("lending_parallelrun", "lending_paralleldifference", "lending_parallelnote")
)
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_parallelrun, lending_paralleldifference, lending_parallelnote TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0026_takeovers"),
    ]

    operations = [
        migrations.CreateModel(
            name="ParallelRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                ("source", models.CharField(max_length=40)),
                ("day", models.DateField(help_text="both sides as of its end, 00:00 UTC of the next")),
                ("content", models.TextField()),
                ("content_hash", models.BinaryField(help_text="SHA-256 of the file", max_length=32)),
                (
                    "tolerance",
                    lending.models.fields.AmountField(
                        decimal_places=18,
                        help_text="in each loan's asset: what differs by no more agrees",
                        max_digits=38,
                    ),
                ),
                ("ltv_tolerance", lending.models.fields.RatioField(decimal_places=12, max_digits=20)),
                ("compared", models.PositiveIntegerField(help_text="loans on either side")),
                ("agreeing", models.PositiveIntegerField()),
                ("made_at", models.DateTimeField()),
                (
                    "made_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ParallelDifference",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reference", models.CharField(max_length=60)),
                (
                    "column",
                    models.CharField(
                        choices=[
                            ("loan", "the loan itself"),
                            ("principal", "Principal"),
                            ("interest", "Interest"),
                            ("fees", "Fees"),
                            ("ltv", "LTV"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "theirs",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="empty: not known there", max_digits=38, null=True
                    ),
                ),
                (
                    "ours",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="empty: not known here", max_digits=38, null=True
                    ),
                ),
                ("first_day", models.DateField(help_text="since when it differs, day after day")),
                (
                    "client",
                    models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to="lending.client"),
                ),
                ("loan", models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to="lending.loan")),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="differences",
                        to="lending.parallelrun",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ParallelNote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(max_length=40)),
                ("reference", models.CharField(max_length=60)),
                (
                    "column",
                    models.CharField(
                        choices=[
                            ("loan", "the loan itself"),
                            ("principal", "Principal"),
                            ("interest", "Interest"),
                            ("fees", "Fees"),
                            ("ltv", "LTV"),
                        ],
                        max_length=12,
                    ),
                ),
                ("first_day", models.DateField()),
                ("text", models.CharField(max_length=400)),
                ("at", models.DateTimeField()),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["source", "reference", "column", "first_day"], name="lending_par_source_3c32d9_idx"
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="parallelrun",
            index=models.Index(fields=["source", "day"], name="lending_par_source_29df8a_idx"),
        ),
        migrations.AddConstraint(
            model_name="parallelrun",
            constraint=models.UniqueConstraint(fields=("source", "day", "content_hash"), name="parallel_file_once"),
        ),
        migrations.AddConstraint(
            model_name="parallelrun",
            constraint=models.CheckConstraint(
                condition=models.Q(("tolerance__gte", 0), ("ltv_tolerance__gte", 0)),
                name="parallel_tolerance_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="paralleldifference",
            constraint=models.UniqueConstraint(fields=("run", "reference", "column"), name="difference_once"),
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
