import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Collateral that is the desk's own is owed back and can not fall below nothing: equal to lending.engine.chart.GUARDS.
OPENS = """
CREATE OR REPLACE FUNCTION lending_open_balance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.lending_ledgerbalance (account_id, amount, guard)
    VALUES (NEW.id, 0, CASE
        WHEN NEW.kind IN ('deposits_pending', 'withdrawals_pending', 'client_free', 'client_reserved',
                          'client_pledged',[more] 'liquidation_hold', 'sale_proceeds',
                          'deficiency_allowance') THEN -1
        WHEN NEW.kind IN ('loan_principal', 'interest_receivable', 'fees_receivable', 'deficiency_claim') THEN 1
        ELSE 0 END);
    RETURN NULL;
END $$;
"""
# What every account and product has so far, and the other form.
ROWS = """
INSERT INTO lending_pledgeterms (id, name, form, rank, segregation, forks) VALUES
    (1, 'Security interest, first rank', 'security_interest', 1, 'clients', 'client'),
    (2, 'Title transfer', 'title_transfer', 1, 'desk', 'client');
ALTER TABLE lending_pledgeterms ALTER COLUMN id RESTART WITH 3;
"""
# What was signed: how collateral is given never changes. What perfects it is of the account's own client, and kept.
GUARDS = """
CREATE TRIGGER lending_pledgeterms_are_final BEFORE UPDATE OR DELETE ON lending_pledgeterms
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_pledgeterms_stay BEFORE TRUNCATE ON lending_pledgeterms
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_perfection_is_final BEFORE UPDATE OR DELETE ON lending_perfection
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_perfection_stays BEFORE TRUNCATE ON lending_perfection
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();

CREATE FUNCTION lending_keep_pledge_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'how the collateral of a margin account is given never changes: it is what was signed'
        USING ERRCODE = 'LN006', CONSTRAINT = 'margin_account_keeps_its_pledge_terms';
END $$;
CREATE TRIGGER lending_marginaccount_keeps_its_pledge_terms BEFORE UPDATE OF pledge_terms_id ON lending_marginaccount
    FOR EACH ROW WHEN (OLD.pledge_terms_id IS DISTINCT FROM NEW.pledge_terms_id)
    EXECUTE FUNCTION lending_keep_pledge_terms();

CREATE FUNCTION lending_check_perfection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM lending_marginaccount m JOIN lending_pledgeterms t ON t.id = m.pledge_terms_id
        WHERE m.id = NEW.margin_account_id AND m.client_id = NEW.client_id AND t.form = 'security_interest'
    ) OR NEW.document_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM lending_document d WHERE d.id = NEW.document_id AND d.client_id = NEW.client_id
    ) THEN
        RAISE EXCEPTION 'only a security interest is perfected, with the papers of its own client'
            USING ERRCODE = 'LN006', CONSTRAINT = 'perfection_of_its_account';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_perfection_checked BEFORE INSERT ON lending_perfection
    FOR EACH ROW EXECUTE FUNCTION lending_check_perfection();
"""
UNGUARD = """
DROP TRIGGER lending_perfection_checked ON lending_perfection;
DROP TRIGGER lending_marginaccount_keeps_its_pledge_terms ON lending_marginaccount;
DROP TRIGGER lending_perfection_stays ON lending_perfection;
DROP TRIGGER lending_perfection_is_final ON lending_perfection;
DROP TRIGGER lending_pledgeterms_stay ON lending_pledgeterms;
DROP TRIGGER lending_pledgeterms_are_final ON lending_pledgeterms;
DROP FUNCTION lending_check_perfection(), lending_keep_pledge_terms();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT ON lending_pledgeterms TO app;
        GRANT SELECT, INSERT ON lending_perfection TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0048_pools"),
    ]

    operations = [
        migrations.AlterField(
            model_name="glcode",
            name="kind",
            field=models.CharField(
                choices=[
                    ("custody", "custody"),
                    ("deposits_pending", "deposits_pending"),
                    ("withdrawals_pending", "withdrawals_pending"),
                    ("client_free", "client_free"),
                    ("client_reserved", "client_reserved"),
                    ("client_pledged", "client_pledged"),
                    ("collateral_to_return", "collateral_to_return"),
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
                    ("opening_balance", "opening_balance"),
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
        migrations.AlterField(
            model_name="ledgeraccount",
            name="kind",
            field=models.CharField(
                choices=[
                    ("custody", "custody"),
                    ("deposits_pending", "deposits_pending"),
                    ("withdrawals_pending", "withdrawals_pending"),
                    ("client_free", "client_free"),
                    ("client_reserved", "client_reserved"),
                    ("client_pledged", "client_pledged"),
                    ("collateral_to_return", "collateral_to_return"),
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
                    ("opening_balance", "opening_balance"),
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
        migrations.CreateModel(
            name="PledgeTerms",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60, unique=True)),
                (
                    "form",
                    models.CharField(
                        choices=[("security_interest", "security interest"), ("title_transfer", "title transfer")],
                        max_length=20,
                    ),
                ),
                ("rank", models.PositiveSmallIntegerField(default=1, help_text="1 comes before every other creditor")),
                (
                    "segregation",
                    models.CharField(
                        choices=[
                            ("clients", "with other clients' collateral"),
                            ("alone", "in an account of its own"),
                            ("desk", "with what is the desk's own"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "forks",
                    models.CharField(
                        choices=[("client", "the client"), ("desk", "the desk")],
                        help_text="who has what forks and airdrops bring",
                        max_length=8,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "pledge terms",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("rank__gte", 1)), name="pledge_terms_have_a_rank"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("form", "title_transfer"), ("rank", 1), ("segregation", "desk")),
                            models.Q(
                                models.Q(("form", "title_transfer"), _negated=True),
                                models.Q(("segregation", "desk"), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="pledge_terms_of_title",
                    ),
                ],
            },
        ),
        migrations.RunSQL(ROWS, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="marginaccount",
            name="pledge_terms",
            field=models.ForeignKey(
                db_default=models.Value(1),
                default=1,
                on_delete=django.db.models.deletion.PROTECT,
                to="lending.pledgeterms",
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="pledge_terms",
            field=models.ForeignKey(
                db_default=models.Value(1),
                default=1,
                on_delete=django.db.models.deletion.PROTECT,
                to="lending.pledgeterms",
            ),
        ),
        migrations.CreateModel(
            name="Perfection",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("control_agreement", "control agreement"), ("filing", "filing")], max_length=20
                    ),
                ),
                (
                    "reference",
                    models.CharField(help_text="the filing's number, or what the agreement is called", max_length=80),
                ),
                ("held_with", models.CharField(help_text="the registry, or the custodian that agreed", max_length=120)),
                ("from_date", models.DateField()),
                (
                    "lapse_date",
                    models.DateField(
                        help_text="first day on which it no longer holds; empty: until it is ended", null=True
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
                ("client", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client")),
                (
                    "document",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="lending.document"
                    ),
                ),
                (
                    "margin_account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="perfections",
                        to="lending.marginaccount",
                    ),
                ),
                (
                    "recorded_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["lapse_date"], name="lending_per_lapse_d_3d7cac_idx")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("lapse_date__isnull", True), ("lapse_date__gt", models.F("from_date")), _connector="OR"
                        ),
                        name="perfection_lapses_after_it_began",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind", "filing"), _negated=True), ("lapse_date__isnull", False), _connector="OR"
                        ),
                        name="perfection_filing_lapses",
                    ),
                ],
            },
        ),
        migrations.RunSQL(OPENS.replace("[more]", " 'collateral_to_return',"), OPENS.replace("[more]", "")),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
