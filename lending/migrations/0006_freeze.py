import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import F, Q

# A freeze is evidence: it is begun, lifted once, and nothing else of it ever changes.
GUARDS = """
CREATE FUNCTION lending_keep_freeze() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.lifted_at IS NOT NULL
       OR (to_jsonb(NEW) - ARRAY['lifted_at', 'lift_maker_id', 'lift_checker_id', 'lift_reason'])
          <> (to_jsonb(OLD) - ARRAY['lifted_at', 'lift_maker_id', 'lift_checker_id', 'lift_reason']) THEN
        RAISE EXCEPTION 'a freeze can only be lifted, once' USING ERRCODE = 'LE020';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_freeze_is_lifted_once BEFORE UPDATE ON lending_freeze
    FOR EACH ROW EXECUTE FUNCTION lending_keep_freeze();
"""
UNGUARD = """
DROP TRIGGER lending_freeze_is_lifted_once ON lending_freeze;
DROP FUNCTION lending_keep_freeze();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE (lifted_at, lift_maker_id, lift_checker_id, lift_reason) ON lending_freeze TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("lending", "0005_custody_reading")]

    operations = [
        migrations.CreateModel(
            name="Freeze",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("frozen_at", models.DateTimeField()),
                ("reason", models.CharField(max_length=400)),
                ("lifted_at", models.DateTimeField(null=True)),
                ("lift_reason", models.CharField(blank=True, max_length=400)),
                ("client", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client")),
                (
                    "margin_account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="freezes",
                        to="lending.marginaccount",
                    ),
                ),
                (
                    "frozen_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "lift_maker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "lift_checker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(lifted_at__isnull=True), fields=("margin_account",), name="one_open_freeze"
                    ),
                    models.CheckConstraint(
                        condition=Q(lifted_at__isnull=True)
                        | (
                            Q(lift_maker__isnull=False)
                            & Q(lift_checker__isnull=False)
                            & ~Q(lift_maker=F("lift_checker"))
                        ),
                        name="freeze_lifted_by_maker_and_checker",
                    ),
                    models.CheckConstraint(
                        condition=Q(lifted_at__isnull=True) | Q(lifted_at__gte=F("frozen_at")),
                        name="freeze_lifted_after_it_began",
                    ),
                ]
            },
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
