from django.db import migrations, models

import lending.models.fields

# Of a line the origin says what was drawn of it; of any other loan, what was left of the principal.
TAKEN_OVER = """
CREATE OR REPLACE FUNCTION lending_check_taken_over() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.lending_loanorigin o JOIN public.lending_takeover t ON t.id = o.takeover_id
        WHERE o.loan_id = NEW.id AND o.client_id = NEW.client_id AND o.principal = NEW.principal_outstanding
          AND (NEW.tenor = 'revolving' AND o.principal <= NEW.principal OR o.principal = NEW.principal)
          AND o.fees + o.unused = NEW.fees_due
          AND o.interest = NEW.interest_brought AND o.interest = NEW.interest_due AND t.cut_over_at = NEW.start_at
          AND t.maker_id = NEW.made_by_id AND t.checker_id = NEW.approved_by_id
    ) THEN
        RAISE EXCEPTION 'an offer runs once it is accepted, approved and funded, or when two persons take it over'
            USING ERRCODE = 'LO002', CONSTRAINT = 'loan_taken_over_by_two';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0049_pledge_terms"),
    ]

    operations = [
        migrations.AddField(
            model_name="loanorigin",
            name="fixing",
            field=lending.models.fields.RatioField(
                decimal_places=12,
                help_text="of the benchmark that its rate follows, by which the rate was then",
                max_digits=20,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="loanorigin",
            name="unused",
            field=lending.models.fields.AmountField(
                db_default=0,
                decimal_places=18,
                default=0,
                help_text="of the fee on what is not drawn of a line: accrued and not yet charged then",
                max_digits=38,
            ),
        ),
        migrations.AlterField(
            model_name="loanorigin",
            name="principal",
            field=lending.models.fields.AmountField(
                decimal_places=18,
                help_text="outstanding when it was taken over; of a line what was drawn",
                max_digits=38,
            ),
        ),
        *(
            migrations.AlterField(
                model_name=name,
                name="column",
                field=models.CharField(
                    choices=[
                        ("loan", "the loan itself"),
                        ("principal", "Principal"),
                        ("interest", "Interest"),
                        ("fees", "Fees"),
                        ("ltv", "LTV"),
                        ("annual_rate", "rate a year"),
                    ],
                    max_length=12,
                ),
            )
            for name in ("paralleldifference", "parallelnote")
        ),
        migrations.RunSQL(TAKEN_OVER, migrations.RunSQL.noop),
    ]
