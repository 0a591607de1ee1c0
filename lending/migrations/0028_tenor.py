from django.db import migrations, models

# Equal to lending.models.LOAN_TRANSITIONS.
STEPS = """
INSERT INTO lending_loantransition (from_state, to_state)
VALUES ('active', 'recalled'), ('recalled', 'active'), ('recalled', 'matured'), ('recalled', 'repaid'),
       ('recalled', 'defaulted'), ('recalled', 'liquidating'), ('liquidating', 'recalled'), ('repaid', 'recalled'),
       ('defaulted', 'recalled');
"""
NO_STEPS = "DELETE FROM lending_loantransition WHERE 'recalled' IN (from_state, to_state);"
# What was repaid or in default comes back as recalled, too, by a correction of its payments alone.
REOPENED = """
DROP TRIGGER lending_loan_is_reopened ON lending_loan;
CREATE TRIGGER lending_loan_is_reopened BEFORE UPDATE OF state ON lending_loan
    FOR EACH ROW WHEN (OLD.state IN ('repaid', 'defaulted') AND NEW.state IN ('active', 'matured'RECALLED)
                       OR OLD.state = 'repaid' AND NEW.state = 'defaulted')
    EXECUTE FUNCTION lending_check_reopened();
"""
# How a loan ends is a term: it changes with a new version of its term sheet, and not otherwise.
TERMS = """
CREATE FUNCTION lending_check_tenor_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed jsonb := (
        SELECT s.content::jsonb -> 'loan' FROM public.lending_termsheet s
        WHERE s.loan_id = NEW.id ORDER BY s.version DESC LIMIT 1
    );
BEGIN
    IF agreed IS NOT NULL AND (
        coalesce(agreed ->> 'tenor', 'fixed') <> NEW.tenor
        OR coalesce((agreed ->> 'notice_days')::integer, 0) <> NEW.notice_days
    ) THEN
        RAISE EXCEPTION 'a loan runs by its term sheet: other terms are a new version of it'
            USING ERRCODE = 'LT004', CONSTRAINT = 'loan_runs_by_its_term_sheet';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_keeps_its_tenor BEFORE UPDATE OF tenor, notice_days ON lending_loan
    FOR EACH ROW WHEN ((OLD.tenor, OLD.notice_days) IS DISTINCT FROM (NEW.tenor, NEW.notice_days))
    EXECUTE FUNCTION lending_check_tenor_of_loan();
"""
NO_TERMS = """
DROP TRIGGER lending_loan_keeps_its_tenor ON lending_loan;
DROP FUNCTION lending_check_tenor_of_loan();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0027_parallel_run"),
    ]

    operations = [
        migrations.AddField(
            model_name="loan",
            name="ends_on",
            field=models.DateField(help_text="of another: the day on which the notice that ends it is over", null=True),
        ),
        migrations.AddField(
            model_name="loan",
            name="notice_days",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="business days of notice with which either side ends what has no fixed end; 0 for a fixed term",
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="tenor",
            field=models.CharField(
                choices=[("fixed", "a fixed term"), ("open", "an open term")],
                db_default="fixed",
                default="fixed",
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="notice_days",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="business days of notice with which either side ends what has no fixed end; 0 for a fixed term",
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="tenor",
            field=models.CharField(
                choices=[("fixed", "a fixed term"), ("open", "an open term")],
                db_default="fixed",
                default="fixed",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="loan",
            name="default_at",
            field=models.DateTimeField(
                help_text="from when the default rate holds; empty: a day after the start of the day it ends on",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="loan",
            name="maturity_date",
            field=models.DateField(help_text="of a fixed term, as agreed", null=True),
        ),
        migrations.AlterField(
            model_name="loan",
            name="state",
            field=models.CharField(
                choices=[
                    ("quoted", "Quoted"),
                    ("accepted", "Accepted"),
                    ("approved", "Approved"),
                    ("collateral_pending", "Collateral Pending"),
                    ("active", "Active"),
                    ("recalled", "Recalled"),
                    ("matured", "Matured"),
                    ("defaulted", "Defaulted"),
                    ("liquidating", "Liquidating"),
                    ("repaid", "Repaid"),
                    ("workout", "Workout"),
                    ("written_off", "Written Off"),
                    ("recovered", "Recovered"),
                    ("closed", "Closed"),
                    ("cancelled", "Cancelled"),
                ],
                default="quoted",
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="loantransition",
            name="from_state",
            field=models.CharField(
                choices=[
                    ("quoted", "Quoted"),
                    ("accepted", "Accepted"),
                    ("approved", "Approved"),
                    ("collateral_pending", "Collateral Pending"),
                    ("active", "Active"),
                    ("recalled", "Recalled"),
                    ("matured", "Matured"),
                    ("defaulted", "Defaulted"),
                    ("liquidating", "Liquidating"),
                    ("repaid", "Repaid"),
                    ("workout", "Workout"),
                    ("written_off", "Written Off"),
                    ("recovered", "Recovered"),
                    ("closed", "Closed"),
                    ("cancelled", "Cancelled"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="loantransition",
            name="to_state",
            field=models.CharField(
                choices=[
                    ("quoted", "Quoted"),
                    ("accepted", "Accepted"),
                    ("approved", "Approved"),
                    ("collateral_pending", "Collateral Pending"),
                    ("active", "Active"),
                    ("recalled", "Recalled"),
                    ("matured", "Matured"),
                    ("defaulted", "Defaulted"),
                    ("liquidating", "Liquidating"),
                    ("repaid", "Repaid"),
                    ("workout", "Workout"),
                    ("written_off", "Written Off"),
                    ("recovered", "Recovered"),
                    ("closed", "Closed"),
                    ("cancelled", "Cancelled"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="obligation",
            name="kind",
            field=models.CharField(
                choices=[
                    ("interest", "interest"),
                    ("instalment", "instalment"),
                    ("maturity", "all that is left"),
                    ("recall", "all that is left, after notice"),
                ],
                max_length=12,
            ),
        ),
        migrations.AddConstraint(
            model_name="loan",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("ends_on__isnull", True),
                        ("maturity_date__isnull", False),
                        ("notice_days", 0),
                        ("tenor", "fixed"),
                    ),
                    models.Q(
                        ("maturity_date__isnull", True),
                        ("notice_days__gt", 0),
                        ("schedule_kind", "interest_only"),
                        models.Q(("tenor", "fixed"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="loan_ends_one_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="loan",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ends_on__isnull", False), ("state", "recalled")),
                    models.Q(("ends_on__isnull", True), ("state", "active")),
                    models.Q(("state__in", ["recalled", "active"]), _negated=True),
                    _connector="OR",
                ),
                name="loan_ends_once_recalled",
            ),
        ),
        migrations.AddConstraint(
            model_name="product",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("notice_days", 0), ("tenor", "fixed")),
                    models.Q(
                        ("notice_days__gt", 0),
                        ("schedule_kind", "interest_only"),
                        models.Q(("tenor", "fixed"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="product_ends_one_way",
                violation_error_message="What has no fixed end pays interest only and is ended with at least one "
                "business day's notice; a fixed term ends on its day and has no notice: 0.",
            ),
        ),
        migrations.RunSQL(STEPS, NO_STEPS),
        migrations.RunSQL(REOPENED.replace("RECALLED", ", 'recalled'"), REOPENED.replace("RECALLED", "")),
        migrations.RunSQL(TERMS, NO_TERMS),
    ]
