import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What is set aside is owed to its client and can not fall below nothing: equal to lending.engine.chart.GUARDS.
OPENS = """
CREATE OR REPLACE FUNCTION lending_open_balance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.lending_ledgerbalance (account_id, amount, guard)
    VALUES (NEW.id, 0, CASE
        WHEN NEW.kind IN ('deposits_pending', 'withdrawals_pending', 'client_free', 'client_pledged',[more]
                          'liquidation_hold', 'sale_proceeds', 'deficiency_allowance') THEN -1
        WHEN NEW.kind IN ('loan_principal', 'interest_receivable', 'fees_receivable', 'deficiency_claim') THEN 1
        ELSE 0 END);
    RETURN NULL;
END $$;
"""
# An instruction says at COMMIT what stands on the ledger, keeps whose it is, and ends once.
GUARDS = """
CREATE FUNCTION lending_keep_instruction() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept text[] := ARRAY['id', 'public_id', 'client_id', 'margin_account_id', 'loan_id', 'asset_id'];
BEGIN
    IF OLD.ended_at IS NOT NULL OR NEW.used < OLD.used OR NEW.steps <= OLD.steps OR EXISTS (
        SELECT FROM unnest(kept) AS name WHERE to_jsonb(NEW) -> name <> to_jsonb(OLD) -> name
    ) THEN
        RAISE EXCEPTION 'a standing instruction ends once, and stays with its loan and asset' USING ERRCODE = 'LK008';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_instruction_keeps BEFORE UPDATE ON lending_standinginstruction
    FOR EACH ROW EXECUTE FUNCTION lending_keep_instruction();
CREATE TRIGGER lending_instruction_is_kept BEFORE DELETE ON lending_standinginstruction
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_instruction_stays BEFORE TRUNCATE ON lending_standinginstruction
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();

CREATE FUNCTION lending_instruction_stands() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    said numeric := (
        SELECT sum(i.quantity) FROM public.lending_standinginstruction i
        WHERE i.margin_account_id = NEW.margin_account_id AND i.asset_id = NEW.asset_id
    );
    booked numeric := (
        SELECT -sum(b.amount) FROM public.lending_ledgeraccount a
        JOIN public.lending_ledgerbalance b ON b.account_id = a.id
        WHERE a.kind = 'client_reserved' AND a.asset_id = NEW.asset_id AND a.margin_account_id = NEW.margin_account_id
    );
BEGIN
    IF said IS DISTINCT FROM coalesce(booked, 0) THEN
        RAISE EXCEPTION 'an instruction sets % aside, and % stand on the ledger', said, coalesce(booked, 0)
            USING ERRCODE = 'LK009', CONSTRAINT = 'instruction_stands_on_the_ledger';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER lending_instruction_stands AFTER INSERT OR UPDATE ON lending_standinginstruction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lending_instruction_stands();
"""
UNGUARD = """
DROP TRIGGER lending_instruction_keeps ON lending_standinginstruction;
DROP TRIGGER lending_instruction_is_kept ON lending_standinginstruction;
DROP TRIGGER lending_instruction_stays ON lending_standinginstruction;
DROP TRIGGER lending_instruction_stands ON lending_standinginstruction;
DROP FUNCTION lending_keep_instruction();
DROP FUNCTION lending_instruction_stands();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE ON lending_standinginstruction TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0032_lines"),
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
            name="StandingInstruction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                (
                    "quantity",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="set aside and not used yet", max_digits=38
                    ),
                ),
                (
                    "used",
                    lending.models.fields.AmountField(
                        decimal_places=18, default=0, help_text="by margin calls so far", max_digits=38
                    ),
                ),
                ("steps", models.PositiveIntegerField(default=0, help_text="changes so far: they number its entries")),
                ("given_at", models.DateTimeField(help_text="when it was signed last")),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_why", models.CharField(blank=True, max_length=120)),
                (
                    "asset",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="lending.asset"
                    ),
                ),
                (
                    "client",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="lending.client"
                    ),
                ),
                (
                    "ended_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "given_by",
                    models.ForeignKey(
                        help_text="who signed it last",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "loan",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="lending.loan"),
                ),
                (
                    "margin_account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="instructions",
                        to="lending.marginaccount",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at", None)),
                        fields=("margin_account", "asset"),
                        name="one_instruction_an_asset",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("quantity__gte", 0), ("used__gte", 0)), name="instruction_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("ended_at", None), ("quantity", 0), _connector="OR"),
                        name="instruction_that_ended_holds_nothing",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            OPENS.replace("[more]", "\n                          'client_reserved',"), OPENS.replace("[more]", "")
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
