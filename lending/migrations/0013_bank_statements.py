import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# A line that is accounted for stays so; what it is in the books moved exactly its amount on its account; and what one
# person may decide ends at the account's limit. What was booked or matched by reference needed nobody's word.
GUARDS = """
CREATE FUNCTION lending_keep_bank_line() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    bank record;
BEGIN
    IF OLD.state <> 'open'
       OR (to_jsonb(NEW) - ARRAY['state', 'entry_id', 'reason', 'maker_id', 'checker_id', 'decided_at'])
          <> (to_jsonb(OLD) - ARRAY['state', 'entry_id', 'reason', 'maker_id', 'checker_id', 'decided_at']) THEN
        RAISE EXCEPTION 'a bank line is accounted for once, and nothing else of it changes'
            USING ERRCODE = 'LB001', CONSTRAINT = 'bank_line_stays';
    END IF;
    SELECT custodian, second_person_above INTO bank FROM public.lending_bankaccount WHERE id = NEW.account_id;
    IF NEW.maker_id IS NOT NULL AND NEW.checker_id IS NULL AND abs(NEW.amount) > bank.second_person_above THEN
        RAISE EXCEPTION 'a bank line of % takes two persons: one may decide up to %', NEW.amount, bank.second_person_above
            USING ERRCODE = 'LB002', CONSTRAINT = 'bank_line_takes_two_persons';
    END IF;
    IF NEW.entry_id IS NOT NULL AND NEW.amount IS DISTINCT FROM (
        SELECT sum(p.amount) FROM public.lending_posting p JOIN public.lending_ledgeraccount a ON a.id = p.account_id
        WHERE p.entry_id = NEW.entry_id AND a.kind = 'custody' AND a.party = bank.custodian
          AND a.asset_id = NEW.asset_id
    ) THEN
        RAISE EXCEPTION 'entry % did not move exactly % on the cash account of %', NEW.entry_id, NEW.amount, bank.custodian
            USING ERRCODE = 'LB003', CONSTRAINT = 'bank_line_is_its_entry';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_bankline_stays BEFORE UPDATE ON lending_bankline
    FOR EACH ROW EXECUTE FUNCTION lending_keep_bank_line();
CREATE TRIGGER lending_bankline_is_kept BEFORE DELETE ON lending_bankline
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_bankstatement_is_final BEFORE UPDATE OR DELETE ON lending_bankstatement
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
"""
UNGUARD = """
DROP TRIGGER lending_bankline_stays ON lending_bankline;
DROP TRIGGER lending_bankline_is_kept ON lending_bankline;
DROP TRIGGER lending_bankstatement_is_final ON lending_bankstatement;
DROP FUNCTION lending_keep_bank_line();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE (name, reported_live, second_person_above) ON lending_bankaccount TO app;
        GRANT SELECT, INSERT ON lending_bankstatement TO app;
        GRANT SELECT, INSERT, UPDATE (state, entry_id, reason, maker_id, checker_id, decided_at) ON lending_bankline TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0012_schedules"),
    ]

    operations = [
        migrations.AlterField(
            model_name="deposit",
            name="position",
            field=models.BigIntegerField(
                help_text="in the custodian's own list; what was read so far is its maximum; below zero: from a bank statement"
            ),
        ),
        migrations.CreateModel(
            name="BankAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.SlugField(max_length=20, unique=True)),
                ("name", models.CharField(max_length=80)),
                (
                    "identifier",
                    models.CharField(
                        help_text="IBAN or account number, as the bank's statements name it", max_length=60, unique=True
                    ),
                ),
                (
                    "custodian",
                    models.CharField(
                        help_text="name under which the ledger holds this cash: the custodian's, or one of its own",
                        max_length=40,
                    ),
                ),
                (
                    "reported_live",
                    models.BooleanField(
                        default=False,
                        help_text="the custodian reports receipts on this account as they come; its statements follow",
                    ),
                ),
                (
                    "second_person_above",
                    lending.models.fields.AmountField(
                        decimal_places=18,
                        default=0,
                        help_text="what one person may decide about a line, at most",
                        max_digits=38,
                    ),
                ),
                (
                    "asset",
                    models.ForeignKey(
                        help_text="the currency it is kept in",
                        on_delete=django.db.models.deletion.PROTECT,
                        to="lending.asset",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="BankStatement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(max_length=60)),
                ("form", models.CharField(max_length=12, verbose_name="format")),
                ("opening_date", models.DateField()),
                ("closing_date", models.DateField()),
                ("opening", lending.models.fields.AmountField(decimal_places=18, max_digits=38)),
                ("closing", lending.models.fields.AmountField(decimal_places=18, max_digits=38)),
                ("file_name", models.CharField(max_length=120)),
                ("sha256", models.CharField(help_text="of the file it came in", max_length=64)),
                ("imported_at", models.DateTimeField()),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="statements", to="lending.bankaccount"
                    ),
                ),
                ("asset", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.asset")),
                (
                    "imported_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="BankLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                ("key", models.CharField(help_text="what makes it the same line in another statement", max_length=160)),
                ("position", models.PositiveIntegerField(help_text="in the statement that first had it")),
                ("ref", models.CharField(blank=True, help_text="the bank's own reference", max_length=120)),
                ("end_to_end", models.CharField(blank=True, help_text="the reference of whoever paid", max_length=120)),
                ("booked_date", models.DateField()),
                ("value_date", models.DateField()),
                (
                    "arrived_at",
                    models.DateTimeField(help_text="when the money was there: the end of its value date, or as booked"),
                ),
                (
                    "amount",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="positive where money came in", max_digits=38
                    ),
                ),
                ("payer", models.CharField(blank=True, max_length=160, verbose_name="other side")),
                ("text", models.CharField(blank=True, max_length=1000)),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("matched", "Matched"), ("not_ours", "Not Ours")],
                        default="open",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=400)),
                ("decided_at", models.DateTimeField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="lending.bankaccount"
                    ),
                ),
                ("asset", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.asset")),
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
                    "entry",
                    models.OneToOneField(
                        help_text="what it is in the books",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="bank_line",
                        to="lending.entry",
                    ),
                ),
                (
                    "maker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "statement",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="lending.bankstatement"
                    ),
                ),
            ],
            options={
                "ordering": ["booked_date", "pk"],
            },
        ),
        migrations.AddConstraint(
            model_name="bankaccount",
            constraint=models.UniqueConstraint(fields=("custodian", "asset"), name="one_bank_account_per_cash_account"),
        ),
        migrations.AddConstraint(
            model_name="bankaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(("second_person_above__gte", 0)), name="bank_limit_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="bankstatement",
            constraint=models.UniqueConstraint(
                fields=("account", "number", "closing_date"), name="bank_statement_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="bankstatement",
            constraint=models.CheckConstraint(
                condition=models.Q(("closing_date__gte", models.F("opening_date"))),
                name="bank_statement_closes_after_it_opens",
            ),
        ),
        migrations.AddIndex(
            model_name="bankline",
            index=models.Index(fields=["state", "booked_date"], name="lending_ban_state_a8324a_idx"),
        ),
        migrations.AddConstraint(
            model_name="bankline",
            constraint=models.UniqueConstraint(fields=("account", "key"), name="bank_line_once"),
        ),
        migrations.AddConstraint(
            model_name="bankline",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount", 0), _negated=True), name="bank_line_not_zero"
            ),
        ),
        migrations.AddConstraint(
            model_name="bankline",
            constraint=models.CheckConstraint(
                condition=models.Q(("maker", models.F("checker")), _negated=True), name="bank_line_maker_is_not_checker"
            ),
        ),
        migrations.AddConstraint(
            model_name="bankline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at__isnull", True), ("entry__isnull", True), ("state", "open")),
                    models.Q(("decided_at__isnull", False), ("entry__isnull", False), ("state", "matched")),
                    models.Q(
                        ("decided_at__isnull", False),
                        ("entry__isnull", True),
                        ("maker__isnull", False),
                        ("state", "not_ours"),
                        models.Q(("reason", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="bank_line_is_accounted_for",
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
