import django.db.models.deletion
from django.db import migrations, models

import lending.models.fields

# A late fee is charged with the step into default, by an entry of as much, and goes once that entry is reversed.
GUARD = """
CREATE FUNCTION lending_check_late_fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.late_fee <> 0 AND (
        OLD.late_fee <> 0 OR OLD.state <> 'late' OR NEW.state <> 'defaulted' OR NOT EXISTS (
            SELECT FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id
            WHERE e.id = NEW.late_fee_entry_id AND e.kind = 'late_fee' AND p.loan_id = NEW.loan_id
              AND p.amount = NEW.late_fee)
    ) THEN
        RAISE EXCEPTION 'a late fee is charged once, by an entry, when a payment is in default'
            USING ERRCODE = 'LN004', CONSTRAINT = 'late_fee_charged_once';
    END IF;
    IF NEW.late_fee = 0 AND NOT EXISTS (SELECT FROM lending_entry e WHERE e.reverses_id = OLD.late_fee_entry_id) THEN
        RAISE EXCEPTION 'a late fee goes with the reversal of its entry'
            USING ERRCODE = 'LN004', CONSTRAINT = 'late_fee_goes_by_reversal';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_obligation_late_fee BEFORE UPDATE OF late_fee, late_fee_entry_id ON lending_obligation
    FOR EACH ROW WHEN ((OLD.late_fee, OLD.late_fee_entry_id) IS DISTINCT FROM (NEW.late_fee, NEW.late_fee_entry_id))
    EXECUTE FUNCTION lending_check_late_fee();
"""
UNGUARD = """
DROP TRIGGER lending_obligation_late_fee ON lending_obligation;
DROP FUNCTION lending_check_late_fee();
"""
# It is what the term sheet says.
TERMS = """
CREATE FUNCTION lending_check_late_fee_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed jsonb := (
        SELECT s.content::jsonb -> 'loan' FROM public.lending_termsheet s
        WHERE s.loan_id = NEW.id ORDER BY s.version DESC LIMIT 1
    );
BEGIN
    IF agreed IS NOT NULL AND coalesce((agreed ->> 'late_fee')::numeric, 0) <> NEW.late_fee THEN
        RAISE EXCEPTION 'a loan runs by its term sheet: other terms are a new version of it'
            USING ERRCODE = 'LT004', CONSTRAINT = 'loan_runs_by_its_term_sheet';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_keeps_its_late_fee BEFORE UPDATE OF late_fee ON lending_loan
    FOR EACH ROW WHEN (OLD.late_fee IS DISTINCT FROM NEW.late_fee) EXECUTE FUNCTION lending_check_late_fee_of_loan();
"""
NO_TERMS = """
DROP TRIGGER lending_loan_keeps_its_late_fee ON lending_loan;
DROP FUNCTION lending_check_late_fee_of_loan();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0035_floating"),
    ]

    operations = [
        migrations.AddField(
            model_name="loan",
            name="late_fee",
            field=lending.models.fields.RatioField(
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="of interest or a part of the principal that is unpaid after its grace, once",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="obligation",
            name="late_fee",
            field=lending.models.fields.AmountField(
                db_default=0,
                decimal_places=18,
                default=0,
                help_text="charged when its grace was over, and not taken back",
                max_digits=38,
            ),
        ),
        migrations.AddField(
            model_name="obligation",
            name="late_fee_entry",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="lending.entry"
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="late_fee",
            field=lending.models.fields.RatioField(
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="of interest or a part of the principal that is unpaid after its grace, once",
                max_digits=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="obligation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("late_fee", 0), ("late_fee_entry__isnull", True)),
                    models.Q(
                        ("amount__isnull", False),
                        ("late_fee__gt", 0),
                        ("late_fee_entry__isnull", False),
                        models.Q(("state__in", ["expected", "noticed", "due"]), _negated=True),
                        models.Q(("kind__in", ["maturity", "recall"]), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="obligation_late_fee_by_an_entry",
            ),
        ),
        migrations.AddConstraint(
            model_name="product",
            constraint=models.CheckConstraint(
                condition=models.Q(("late_fee__gte", 0), ("late_fee__lt", 1)),
                name="product_late_fee_below_one",
                violation_error_message="A late fee is at least 0 and less than all of what is late.",
            ),
        ),
        migrations.RunSQL(GUARD, UNGUARD),
        migrations.RunSQL(TERMS, NO_TERMS),
    ]
