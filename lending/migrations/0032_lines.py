import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What was paid out or dropped is final; what waits is decided once. What is drawn was available when it was paid out;
# a line can owe more than its limit all the same, once a payment is taken back that it was drawn against.
GUARDS = """
CREATE FUNCTION lending_check_draw() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.amount > (
        SELECT l.principal - l.principal_outstanding FROM public.lending_loan l WHERE l.id = NEW.loan_id FOR UPDATE
    ) THEN
        RAISE EXCEPTION 'no more is drawn of a line than its limit leaves'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'draw_within_its_limit';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_draw_is_within_its_limit BEFORE UPDATE ON lending_draw
    FOR EACH ROW WHEN (NEW.state = 'paid_out' AND OLD.state <> 'paid_out')
    EXECUTE FUNCTION lending_check_draw();
CREATE TRIGGER lending_draw_is_decided_once BEFORE UPDATE ON lending_draw
    FOR EACH ROW WHEN (OLD.state <> 'requested'
                       OR (OLD.loan_id, OLD.client_id, OLD.amount, OLD.asked_by_id, OLD.asked_at, OLD.public_id)
                          IS DISTINCT FROM
                          (NEW.loan_id, NEW.client_id, NEW.amount, NEW.asked_by_id, NEW.asked_at, NEW.public_id))
    EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_draw_is_kept BEFORE DELETE ON lending_draw
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_draw_stays BEFORE TRUNCATE ON lending_draw
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
UNGUARD = """
DROP TRIGGER lending_draw_is_within_its_limit ON lending_draw;
DROP FUNCTION lending_check_draw();
DROP TRIGGER lending_draw_is_decided_once ON lending_draw;
DROP TRIGGER lending_draw_is_kept ON lending_draw;
DROP TRIGGER lending_draw_stays ON lending_draw;
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE ON lending_draw TO app;
    END IF;
END $$;
"""
# What is not drawn costs what the term sheet says.
TERMS = """
CREATE FUNCTION lending_check_unused_fee_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed jsonb := (
        SELECT s.content::jsonb -> 'loan' FROM public.lending_termsheet s
        WHERE s.loan_id = NEW.id ORDER BY s.version DESC LIMIT 1
    );
BEGIN
    IF agreed IS NOT NULL AND coalesce((agreed ->> 'unused_fee')::numeric, 0) <> NEW.unused_fee THEN
        RAISE EXCEPTION 'a loan runs by its term sheet: other terms are a new version of it'
            USING ERRCODE = 'LT004', CONSTRAINT = 'loan_runs_by_its_term_sheet';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_keeps_its_unused_fee BEFORE UPDATE OF unused_fee ON lending_loan
    FOR EACH ROW WHEN (OLD.unused_fee IS DISTINCT FROM NEW.unused_fee)
    EXECUTE FUNCTION lending_check_unused_fee_of_loan();
"""
NO_TERMS = """
DROP TRIGGER lending_loan_keeps_its_unused_fee ON lending_loan;
DROP FUNCTION lending_check_unused_fee_of_loan();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0031_joint_signatures"),
    ]

    operations = [
        migrations.CreateModel(
            name="Draw",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                (
                    "amount",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="in the loan's asset, > 0", max_digits=38
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("requested", "asked for"), ("paid_out", "paid out"), ("cancelled", "cancelled")],
                        default="requested",
                        max_length=12,
                    ),
                ),
                ("asked_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddField(
            model_name="loan",
            name="unused_fee",
            field=lending.models.fields.RatioField(
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year, of what is not drawn of a revolving line",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="unused_posted",
            field=lending.models.fields.AmountField(
                db_default=0,
                decimal_places=18,
                default=0,
                help_text="all fees on what was not drawn, paid or not",
                max_digits=38,
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="unused_fee",
            field=lending.models.fields.RatioField(
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year, of what is not drawn of a revolving line",
                max_digits=20,
            ),
        ),
        migrations.AlterField(
            model_name="loan",
            name="tenor",
            field=models.CharField(
                choices=[("fixed", "a fixed term"), ("open", "an open term"), ("revolving", "a revolving line")],
                db_default="fixed",
                default="fixed",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="product",
            name="tenor",
            field=models.CharField(
                choices=[("fixed", "a fixed term"), ("open", "an open term"), ("revolving", "a revolving line")],
                db_default="fixed",
                default="fixed",
                max_length=12,
            ),
        ),
        migrations.AddConstraint(
            model_name="loan",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("tenor", "revolving"), ("principal_outstanding__lte", models.F("principal")), _connector="OR"
                ),
                name="loan_within_its_limit",
            ),
        ),
        migrations.AddConstraint(
            model_name="product",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("unused_fee", 0),
                    models.Q(("tenor", "revolving"), ("unused_fee__gt", 0), ("unused_fee__lt", 1)),
                    _connector="OR",
                ),
                name="product_unused_fee_of_a_line",
                violation_error_message="A fee on what is not drawn belongs to a revolving line, and is at least 0 and less than all of it.",
            ),
        ),
        migrations.AddField(
            model_name="draw",
            name="asked_by",
            field=models.ForeignKey(
                help_text="maker",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="draw",
            name="client",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client"),
        ),
        migrations.AddField(
            model_name="draw",
            name="decided_by",
            field=models.ForeignKey(
                help_text="checker",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="draw",
            name="entry",
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to="lending.entry"),
        ),
        migrations.AddField(
            model_name="draw",
            name="loan",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="draws", to="lending.loan"
            ),
        ),
        migrations.AddConstraint(
            model_name="draw",
            constraint=models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="draw_positive"),
        ),
        migrations.AddConstraint(
            model_name="draw",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "requested")), fields=("loan",), name="draw_one_at_a_time"
            ),
        ),
        migrations.AddConstraint(
            model_name="draw",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "paid_out"), _negated=True),
                    models.Q(
                        ("decided_at__isnull", False),
                        ("decided_by__isnull", False),
                        ("entry__isnull", False),
                        models.Q(("decided_by", models.F("asked_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="draw_paid_out_by_another",
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
        migrations.RunSQL(TERMS, NO_TERMS),
    ]
