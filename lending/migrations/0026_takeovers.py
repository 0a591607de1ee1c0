import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What was sent stays as it was sent; the second person is added once, when the loans are taken over. The hash is a fact
# of the row, whoever wrote it: each file with its length before it, so that nothing can move from one into the next.
GUARDS = """
ALTER TABLE lending_takeover ADD CONSTRAINT takeover_hash_is_of_its_files CHECK (files_hash = sha256(convert_to(
    length(loans_csv)::text || ':' || loans_csv || length(pledges_csv)::text || ':' || pledges_csv
    || length(balances_csv)::text || ':' || balances_csv, 'UTF8')));
CREATE FUNCTION lending_keep_takeover() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.done_at IS NOT NULL
       OR (to_jsonb(NEW) - ARRAY['checker_id', 'done_at']) <> (to_jsonb(OLD) - ARRAY['checker_id', 'done_at']) THEN
        RAISE EXCEPTION 'what was sent to be taken over stays as it was sent, and is taken over once'
            USING ERRCODE = 'LO001', CONSTRAINT = 'takeover_done_once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_takeover_is_done_once BEFORE UPDATE ON lending_takeover
    FOR EACH ROW EXECUTE FUNCTION lending_keep_takeover();
CREATE TRIGGER lending_takeover_is_kept BEFORE DELETE ON lending_takeover
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_takeover_stays BEFORE TRUNCATE ON lending_takeover
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_loanorigin_is_final BEFORE UPDATE OR DELETE ON lending_loanorigin
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_loanorigin_stays BEFORE TRUNCATE ON lending_loanorigin
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
UNGUARD = """
DROP TRIGGER lending_takeover_is_done_once ON lending_takeover;
DROP TRIGGER lending_takeover_is_kept ON lending_takeover;
DROP TRIGGER lending_takeover_stays ON lending_takeover;
DROP TRIGGER lending_loanorigin_is_final ON lending_loanorigin;
DROP TRIGGER lending_loanorigin_stays ON lending_loanorigin;
DROP FUNCTION lending_keep_takeover();
"""
# A loan that nobody accepted here runs because two persons took it over; equal to lending.models.LOAN_TRANSITIONS. What
# stood on it then is what its interest and its corrections count from.
TAKEN_OVER = """
INSERT INTO lending_loantransition (from_state, to_state) VALUES ('quoted', 'active');
CREATE FUNCTION lending_check_taken_over() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.lending_loanorigin o JOIN public.lending_takeover t ON t.id = o.takeover_id
        WHERE o.loan_id = NEW.id AND o.client_id = NEW.client_id AND o.principal = NEW.principal
          AND o.interest = NEW.interest_brought AND t.cut_over_at = NEW.start_at
          AND t.maker_id = NEW.made_by_id AND t.checker_id = NEW.approved_by_id
    ) THEN
        RAISE EXCEPTION 'an offer runs once it is accepted, approved and funded, or when two persons take it over'
            USING ERRCODE = 'LO002', CONSTRAINT = 'loan_taken_over_by_two';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_is_taken_over BEFORE UPDATE OF state ON lending_loan
    FOR EACH ROW WHEN (OLD.state = 'quoted' AND NEW.state = 'active') EXECUTE FUNCTION lending_check_taken_over();
CREATE TRIGGER lending_loan_keeps_what_it_brought BEFORE UPDATE OF interest_brought, began_date ON lending_loan
    FOR EACH ROW WHEN ((OLD.interest_brought, OLD.began_date) IS DISTINCT FROM (NEW.interest_brought, NEW.began_date))
    EXECUTE FUNCTION lending_refuse_change();
"""
NEVER_TAKEN_OVER = """
DROP TRIGGER lending_loan_is_taken_over ON lending_loan;
DROP TRIGGER lending_loan_keeps_what_it_brought ON lending_loan;
DROP FUNCTION lending_check_taken_over();
DELETE FROM lending_loantransition WHERE from_state = 'quoted' AND to_state = 'active';
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE (checker_id, done_at) ON lending_takeover TO app;
        GRANT SELECT, INSERT ON lending_loanorigin TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0025_withdrawn"),
    ]

    operations = [
        migrations.AddField(
            model_name="loan",
            name="began_date",
            field=models.DateField(help_text="first day of its first period; empty: the day it was funded", null=True),
        ),
        migrations.AddField(
            model_name="loan",
            name="interest_brought",
            field=lending.models.fields.AmountField(
                db_default=0,
                decimal_places=18,
                default=0,
                help_text="interest that was due already when it was taken over",
                max_digits=38,
            ),
        ),
        migrations.AlterField(
            model_name="glcode",
            name="kind",
            field=models.CharField(
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
            name="Takeover",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                ("source", models.CharField(help_text="the system that kept the loans", max_length=40)),
                ("cut_over_at", models.DateTimeField(help_text="from when on the loans are kept here")),
                ("loans_csv", models.TextField()),
                ("pledges_csv", models.TextField()),
                ("balances_csv", models.TextField()),
                ("files_hash", models.BinaryField(help_text="SHA-256 of the three files", max_length=32)),
                (
                    "totals",
                    models.JSONField(help_text="per asset, as the second person compares them with the old system"),
                ),
                ("loan_count", models.PositiveIntegerField()),
                ("made_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(null=True)),
                (
                    "checker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "maker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="LoanOrigin",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(max_length=40)),
                ("reference", models.CharField(max_length=60, verbose_name="reference there")),
                (
                    "principal_agreed",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="when it began, in the loan's asset", max_digits=38
                    ),
                ),
                (
                    "principal",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="outstanding when it was taken over", max_digits=38
                    ),
                ),
                (
                    "interest",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="accrued and unpaid then", max_digits=38
                    ),
                ),
                ("fees", lending.models.fields.AmountField(decimal_places=18, help_text="due then", max_digits=38)),
                ("paper", models.CharField(help_text="what was agreed outside, by its name", max_length=120)),
                ("paper_sha256", models.CharField(max_length=64)),
                ("client", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client")),
                (
                    "loan",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="origin", to="lending.loan"
                    ),
                ),
                (
                    "takeover",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="origins", to="lending.takeover"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="takeover",
            constraint=models.CheckConstraint(
                condition=models.Q(("maker", models.F("checker")), _negated=True), name="takeover_maker_is_not_checker"
            ),
        ),
        migrations.AddConstraint(
            model_name="takeover",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("checker__isnull", True), ("done_at__isnull", True)),
                    models.Q(("checker__isnull", False), ("done_at__isnull", False)),
                    _connector="OR",
                ),
                name="takeover_done_by_a_checker",
            ),
        ),
        migrations.AddConstraint(
            model_name="takeover",
            constraint=models.UniqueConstraint(
                condition=models.Q(("done_at__isnull", False)), fields=("files_hash",), name="files_taken_over_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="loanorigin",
            constraint=models.UniqueConstraint(fields=("source", "reference"), name="loan_reference_once"),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(TAKEN_OVER, NEVER_TAKEN_OVER),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
