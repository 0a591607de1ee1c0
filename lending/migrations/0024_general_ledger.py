import django.db.models.deletion
from django.db import migrations, models

GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE (code, name) ON lending_glcode TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0023_corrections"),
    ]

    operations = [
        migrations.CreateModel(
            name="GlCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("custody", "custody"),
                            ("deposits_pending", "deposits_pending"),
                            ("withdrawals_pending", "withdrawals_pending"),
                            ("client_free", "client_free"),
                            ("client_pledged", "client_pledged"),
                            ("liquidation_hold", "liquidation_hold"),
                            ("sale_proceeds", "sale_proceeds"),
                            ("loan_principal", "loan_principal"),
                            ("interest_receivable", "interest_receivable"),
                            ("fees_receivable", "fees_receivable"),
                            ("deficiency_claim", "deficiency_claim"),
                            ("deficiency_allowance", "deficiency_allowance"),
                            ("desk_inventory", "desk_inventory"),
                            ("exchange", "exchange"),
                            ("dealer_settlement", "dealer_settlement"),
                            ("funding", "funding"),
                            ("capital", "capital"),
                            ("interest_income", "interest_income"),
                            ("default_interest_income", "default_interest_income"),
                            ("fee_income", "fee_income"),
                            ("spread_income", "spread_income"),
                            ("trading_income", "trading_income"),
                            ("funding_cost", "funding_cost"),
                            ("execution_cost", "execution_cost"),
                            ("credit_loss", "credit_loss"),
                            ("recovery", "recovery"),
                        ],
                        max_length=24,
                    ),
                ),
                ("code", models.CharField(max_length=20)),
                ("name", models.CharField(max_length=80)),
                (
                    "asset",
                    models.ForeignKey(
                        blank=True,
                        help_text="empty: every asset without its own",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="lending.asset",
                    ),
                ),
            ],
            options={
                "verbose_name": "GL code",
                "ordering": ["code", "kind"],
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "asset"), name="gl_code_once", nulls_distinct=False)
                ],
            },
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
