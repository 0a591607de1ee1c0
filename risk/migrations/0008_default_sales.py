"""A default is a cause of sale of its own: of one loan that is in default, by what two persons agreed to."""

import django.db.models.deletion
from django.db import migrations, models

GUARDS = """
CREATE FUNCTION risk_check_default_sale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.loan_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM lending_loan l JOIN lending_approval a ON a.payload ->> 'loan' = l.public_id::text
        WHERE l.id = NEW.loan_id AND l.margin_account_id = NEW.margin_account_id AND l.state = 'defaulted'
          AND a.id = NEW.approval_id AND a.kind = 'sell_for_default' AND a.state = 'executed'
          AND a.maker_id <> a.checker_id
    ) THEN
        RAISE EXCEPTION 'a sale for a default needs a loan of the account in default and the agreement of two persons'
            USING ERRCODE = 'RK008';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER risk_salecause_of_a_default BEFORE INSERT ON risk_salecause
    FOR EACH ROW EXECUTE FUNCTION risk_check_default_sale();
"""
UNGUARD = """
DROP TRIGGER risk_salecause_of_a_default ON risk_salecause;
DROP FUNCTION risk_check_default_sale();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0048_pools"),
        ("risk", "0007_conditional_credit"),
    ]

    operations = [
        migrations.AddField(
            model_name="salecause",
            name="approval",
            field=models.OneToOneField(
                help_text="that two persons agreed",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="lending.approval",
            ),
        ),
        migrations.AddField(
            model_name="salecause",
            name="loan",
            field=models.ForeignKey(
                help_text="whose default is sold for",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="lending.loan",
            ),
        ),
        migrations.AlterField(
            model_name="salecause",
            name="kind",
            field=models.CharField(
                choices=[
                    ("expired_call", "Expired Call"),
                    ("liquidation_level", "Liquidation Level"),
                    ("payment_default", "Payment Default"),
                    ("maturity_default", "Maturity Default"),
                    ("recall_default", "Recall Default"),
                    ("client_election", "Client Election"),
                    ("two_key", "Two Key"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="salecause",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("approval__isnull", False),
                        ("call__isnull", True),
                        ("kind__in", ("payment_default", "maturity_default", "recall_default")),
                        ("loan__isnull", False),
                    ),
                    models.Q(
                        models.Q(
                            ("kind__in", ("payment_default", "maturity_default", "recall_default")), _negated=True
                        ),
                        ("approval__isnull", True),
                        ("loan__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="cause_of_a_default_names_loan_and_agreement",
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
    ]
