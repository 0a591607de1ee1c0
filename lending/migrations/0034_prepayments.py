import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

import lending.models.fields

# What a prepayment costs is what the term sheet says, and a fixed term's alone.
TERMS = """
CREATE FUNCTION lending_check_prepayment_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed jsonb := (
        SELECT s.content::jsonb -> 'loan' FROM public.lending_termsheet s
        WHERE s.loan_id = NEW.id ORDER BY s.version DESC LIMIT 1
    );
BEGIN
    IF agreed IS NOT NULL AND (
        coalesce(agreed ->> 'prepayment', '') <> NEW.prepayment
        OR coalesce((agreed ->> 'prepayment_rate')::numeric, 0) <> NEW.prepayment_rate
    ) THEN
        RAISE EXCEPTION 'a loan runs by its term sheet: other terms are a new version of it'
            USING ERRCODE = 'LT004', CONSTRAINT = 'loan_runs_by_its_term_sheet';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_keeps_its_prepayment BEFORE UPDATE OF prepayment, prepayment_rate ON lending_loan
    FOR EACH ROW WHEN ((OLD.prepayment, OLD.prepayment_rate) IS DISTINCT FROM (NEW.prepayment, NEW.prepayment_rate))
    EXECUTE FUNCTION lending_check_prepayment_of_loan();
"""
NO_TERMS = """
DROP TRIGGER lending_loan_keeps_its_prepayment ON lending_loan;
DROP FUNCTION lending_check_prepayment_of_loan();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0033_standing_instructions"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="correction",
            name="payment_taken_back_by_two_persons",
        ),
        migrations.RemoveConstraint(
            model_name="repayment",
            name="repayment_is_split_whole",
        ),
        migrations.RemoveConstraint(
            model_name="splitchange",
            name="split_change_is_whole",
        ),
        migrations.AddField(
            model_name="loan",
            name="prepayment",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "nothing"),
                    ("share", "a share of what is prepaid"),
                    ("interest", "interest lost, less what it earns elsewhere"),
                ],
                db_default="",
                default="",
                help_text="what principal costs that is paid before its time, of a fixed term",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="prepayment_rate",
            field=lending.models.fields.RatioField(
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="that share, or what a year earns elsewhere",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="prepayment",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "nothing"),
                    ("share", "a share of what is prepaid"),
                    ("interest", "interest lost, less what it earns elsewhere"),
                ],
                db_default="",
                default="",
                help_text="what principal costs that is paid before its time, of a fixed term",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="prepayment_rate",
            field=lending.models.fields.RatioField(
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="that share, or what a year earns elsewhere",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="repayment",
            name="make_whole",
            field=lending.models.fields.AmountField(
                db_default=0,
                decimal_places=18,
                default=0,
                help_text="what principal cost that was paid before its time",
                max_digits=38,
            ),
        ),
        migrations.AddField(
            model_name="repayment",
            name="prepays",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="principal that it pays before its time costs what was agreed",
            ),
        ),
        migrations.AddField(
            model_name="schedulerow",
            name="agreed_at",
            field=models.DateTimeField(help_text="of a later version: when it was agreed", null=True),
        ),
        migrations.AddField(
            model_name="splitchange",
            name="make_whole",
            field=lending.models.fields.AmountField(db_default=0, decimal_places=18, default=0, max_digits=38),
        ),
        migrations.AlterField(
            model_name="correction",
            name="cause",
            field=models.CharField(
                choices=[
                    ("late", "recorded late"),
                    ("wrong", "booked wrongly"),
                    ("bounced", "the transfer came back"),
                    ("waived", "waived by the desk"),
                ],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="correction",
            name="kind",
            field=models.CharField(
                choices=[
                    ("payment", "earlier payment"),
                    ("reversal", "payment taken back"),
                    ("waiver", "make-whole waived"),
                ],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="correction",
            name="repayment",
            field=models.ForeignKey(
                help_text="entered late, taken back, or freed",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="corrections",
                to="lending.repayment",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind", "payment"), models.Q(("checker__isnull", False), ("maker__isnull", False)), _connector="OR"
                ),
                name="payment_taken_back_by_two_persons",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "waiver")), fields=("repayment",), name="make_whole_waived_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="product",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("prepayment", ""), ("prepayment_rate", 0)),
                    models.Q(
                        ("prepayment", "share"),
                        ("prepayment_rate__gt", 0),
                        ("prepayment_rate__lt", 1),
                        ("tenor", "fixed"),
                    ),
                    models.Q(
                        ("prepayment", "interest"),
                        ("prepayment_rate__gte", 0),
                        ("prepayment_rate__lt", 1),
                        ("tenor", "fixed"),
                    ),
                    _connector="OR",
                ),
                name="product_prepayment_of_a_fixed_term",
                violation_error_message="What is paid before its time can cost something on a fixed term alone: a share above 0 and below all of it, or the interest lost less a rate from 0 on; else the rate is 0.",
            ),
        ),
        migrations.AddConstraint(
            model_name="repayment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "amount",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("fees"), "+", models.F("interest")
                                    ),
                                    "+",
                                    models.F("principal"),
                                ),
                                "+",
                                models.F("surplus"),
                            ),
                            "+",
                            models.F("make_whole"),
                        ),
                    )
                ),
                name="repayment_is_split_whole",
            ),
        ),
        migrations.AddConstraint(
            model_name="repayment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("make_whole", 0),
                    models.Q(("kind", "cash"), ("make_whole__gt", 0), ("prepays", True)),
                    _connector="OR",
                ),
                name="repayment_make_whole_of_a_prepayment",
            ),
        ),
        migrations.AddConstraint(
            model_name="splitchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "amount",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("fees"), "+", models.F("interest")
                                    ),
                                    "+",
                                    models.F("principal"),
                                ),
                                "+",
                                models.F("surplus"),
                            ),
                            "+",
                            models.F("make_whole"),
                        ),
                    )
                ),
                name="split_change_is_whole",
            ),
        ),
        migrations.RunSQL(TERMS, NO_TERMS),
    ]
