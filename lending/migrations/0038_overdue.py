import django.db.models.deletion
from django.db import migrations, models

# Equal to lending.models.LOAN_TRANSITIONS: a sale that leaves debt gives a loan back to what its dates say, and they may
# say that it has matured.
TRANSITIONS = "INSERT INTO lending_loantransition (from_state, to_state) VALUES ('liquidating', 'matured');"
BACK = "DELETE FROM lending_loantransition WHERE from_state = 'liquidating' AND to_state = 'matured';"

# What was refused belongs to the loan's own client, is told of in the words of its last try, and is never forgotten.
GUARDS = """
CREATE FUNCTION lending_check_overdue() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - ARRAY['reason', 'done_at'] <> to_jsonb(OLD) - ARRAY['reason', 'done_at']
       OR NEW.client_id <> (SELECT client_id FROM public.lending_loan WHERE id = NEW.loan_id) THEN
        RAISE EXCEPTION 'what is overdue belongs to the client of its loan, and was due when it was due'
            USING ERRCODE = 'LV001', CONSTRAINT = 'overdue_of_its_loan';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_overdue_checked BEFORE INSERT OR UPDATE ON lending_overdue
    FOR EACH ROW EXECUTE FUNCTION lending_check_overdue();
CREATE TRIGGER lending_overdue_is_kept BEFORE DELETE ON lending_overdue
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_overdue_stays BEFORE TRUNCATE ON lending_overdue
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_overdue TO app;
        GRANT UPDATE (reason, done_at) ON lending_overdue TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0037_capitalised"),
    ]

    operations = [
        migrations.RunSQL(TRANSITIONS, BACK),
        migrations.CreateModel(
            name="Overdue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("reset", "rate reset"), ("capitalisation", "interest that becomes principal")],
                        max_length=16,
                    ),
                ),
                ("at", models.DateTimeField(help_text="from when it was to count")),
                ("reason", models.CharField(help_text="why it was refused when it was tried last", max_length=400)),
                ("since", models.DateTimeField(help_text="when it was refused first")),
                ("done_at", models.DateTimeField(null=True)),
                (
                    "client",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client"),
                ),
                (
                    "loan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="overdue", to="lending.loan"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(condition=models.Q(("done_at", None)), fields=["loan"], name="overdue_open")],
                "constraints": [
                    models.UniqueConstraint(fields=("loan", "kind", "at"), name="overdue_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("since__gte", models.F("at")),
                            models.Q(("done_at__isnull", True), ("done_at__gte", models.F("since")), _connector="OR"),
                        ),
                        name="overdue_after_it_was_due",
                    ),
                ],
            },
        ),
        *(migrations.RunSQL(sql, migrations.RunSQL.noop) for sql in (GUARDS, GRANTS)),
    ]
