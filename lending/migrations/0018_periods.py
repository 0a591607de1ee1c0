import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# A month is locked in order and opened again in the reverse one, by two persons, and the database itself keeps the trail.
# Whoever locks waits for every transaction that has posted and not committed yet, and whoever posts afterwards sees the
# lock: both hold one advisory lock, the one alone, the others together.
GUARDS = """
CREATE FUNCTION lending_keep_period() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.end_at <> (NEW.start_date + interval '1 month') AT TIME ZONE 'UTC' THEN
        RAISE EXCEPTION 'the month of % does not end at %', NEW.start_date, NEW.end_at
            USING ERRCODE = 'LP001', CONSTRAINT = 'period_is_a_month';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'open' THEN
            RAISE EXCEPTION 'a month begins open' USING ERRCODE = 'LP002', CONSTRAINT = 'period_begins_open';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.start_date <> OLD.start_date OR NEW.state = OLD.state OR NEW.maker_id IS NULL OR NEW.checker_id IS NULL THEN
        RAISE EXCEPTION 'a month is only locked, or opened again, by two persons'
            USING ERRCODE = 'LP003', CONSTRAINT = 'period_changed_by_two';
    END IF;
    PERFORM pg_advisory_xact_lock(7200002);
    IF NEW.state = 'locked' AND EXISTS (
        SELECT FROM public.lending_period WHERE state = 'open' AND start_date < NEW.start_date
    ) OR NEW.state = 'open' AND EXISTS (
        SELECT FROM public.lending_period WHERE state = 'locked' AND start_date > NEW.start_date
    ) THEN
        RAISE EXCEPTION 'months are locked in their order and opened again in the reverse one'
            USING ERRCODE = 'LP004', CONSTRAINT = 'periods_in_order';
    END IF;
    INSERT INTO public.lending_periodstep (period_id, state, maker_id, checker_id, reason, checks, happened_at)
    VALUES (NEW.id, NEW.state, NEW.maker_id, NEW.checker_id, NEW.reason, NEW.checks, NEW.changed_at);
    RETURN NEW;
END $$;
CREATE TRIGGER lending_period_is_kept BEFORE INSERT OR UPDATE ON lending_period
    FOR EACH ROW EXECUTE FUNCTION lending_keep_period();
CREATE TRIGGER lending_period_stays BEFORE DELETE ON lending_period
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_periodstep_is_final BEFORE UPDATE OR DELETE ON lending_periodstep
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_periodstep_stays BEFORE TRUNCATE ON lending_periodstep
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();

CREATE FUNCTION lending_entry_in_open_period() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    early record;
    locked_until timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7200002);
    SELECT max(end_at) INTO locked_until FROM public.lending_period WHERE state = 'locked';
    IF locked_until IS NOT NULL THEN
        SELECT idempotency_key, effective_at INTO early FROM taken WHERE effective_at < locked_until LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'entry % is dated %: the books are locked until %',
                early.idempotency_key, early.effective_at, locked_until
                USING ERRCODE = 'check_violation', CONSTRAINT = 'entry_in_open_period';
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER lending_entry_in_open_period AFTER INSERT ON lending_entry REFERENCING NEW TABLE AS taken
    FOR EACH STATEMENT EXECUTE FUNCTION lending_entry_in_open_period();
"""
UNGUARD = """
DROP TRIGGER lending_entry_in_open_period ON lending_entry;
DROP FUNCTION lending_entry_in_open_period();
DROP TRIGGER lending_period_is_kept ON lending_period;
DROP TRIGGER lending_period_stays ON lending_period;
DROP TRIGGER lending_periodstep_is_final ON lending_periodstep;
DROP TRIGGER lending_periodstep_stays ON lending_periodstep;
DROP FUNCTION lending_keep_period();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE (state, maker_id, checker_id, reason, checks, changed_at) ON lending_period TO app;
        GRANT SELECT ON lending_periodstep TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0017_obligations"),
    ]

    operations = [
        migrations.CreateModel(
            name="Period",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("start_date", models.DateField(unique=True, verbose_name="month")),
                ("end_at", models.DateTimeField(help_text="its last instant is before this one", unique=True)),
                (
                    "state",
                    models.CharField(choices=[("open", "Open"), ("locked", "Locked")], default="open", max_length=8),
                ),
                ("reason", models.CharField(blank=True, max_length=400)),
                ("checks", models.JSONField(default=list, help_text="what was looked at, and what was open then")),
                ("changed_at", models.DateTimeField(null=True)),
                (
                    "checker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "maker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["start_date"],
            },
        ),
        migrations.CreateModel(
            name="PeriodStep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("state", models.CharField(choices=[("open", "Open"), ("locked", "Locked")], max_length=8)),
                ("reason", models.CharField(blank=True, max_length=400)),
                ("checks", models.JSONField(default=list)),
                ("happened_at", models.DateTimeField()),
                (
                    "checker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "maker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "period",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="steps", to="lending.period"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.AddConstraint(
            model_name="period",
            constraint=models.CheckConstraint(condition=models.Q(("start_date__day", 1)), name="period_is_a_month"),
        ),
        migrations.AddConstraint(
            model_name="period",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("changed_at__isnull", True),
                        ("checker__isnull", True),
                        ("maker__isnull", True),
                        ("state", "open"),
                    ),
                    models.Q(
                        ("changed_at__isnull", False),
                        ("checker__isnull", False),
                        ("maker__isnull", False),
                        models.Q(("maker", models.F("checker")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="period_changed_by_two",
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
