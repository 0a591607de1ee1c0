import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.models.fields

# A break is evidence: what was found stays what it was about, and once it is closed, with how, nothing of it changes.
GUARDS = """
UPDATE lending_custodybreak SET words = 'the ledger and the custodian differ' WHERE words = '';
CREATE FUNCTION lending_keep_break() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL THEN
        RAISE EXCEPTION 'a closed break stays as it is' USING ERRCODE = 'LE021';
    END IF;
    IF (NEW.custodian, NEW.asset_id, NEW.kind, NEW.ref, NEW.found_at)
       IS DISTINCT FROM (OLD.custodian, OLD.asset_id, OLD.kind, OLD.ref, OLD.found_at) THEN
        RAISE EXCEPTION 'what a break is about, and when it was first seen, never changes' USING ERRCODE = 'LE021';
    END IF;
    IF NEW.closed_at IS NOT NULL AND NEW.closed_how = '' THEN
        RAISE EXCEPTION 'a break is closed with how' USING ERRCODE = 'LE021';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_break_is_evidence BEFORE UPDATE ON lending_custodybreak
    FOR EACH ROW EXECUTE FUNCTION lending_keep_break();
CREATE TRIGGER lending_break_is_kept BEFORE DELETE ON lending_custodybreak
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_reconciliation_is_final BEFORE UPDATE OR DELETE ON lending_reconciliation
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_reconciliationline_is_final BEFORE UPDATE OR DELETE ON lending_reconciliationline
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
"""
UNGUARD = """
DROP TRIGGER lending_reconciliationline_is_final ON lending_reconciliationline;
DROP TRIGGER lending_reconciliation_is_final ON lending_reconciliation;
DROP TRIGGER lending_break_is_kept ON lending_custodybreak;
DROP TRIGGER lending_break_is_evidence ON lending_custodybreak;
DROP FUNCTION lending_keep_break();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_reconciliation, lending_reconciliationline, lending_custodianwebhook TO app;
        GRANT UPDATE (times) ON lending_custodianwebhook TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0015_sanctions_lists"),
    ]

    operations = [
        migrations.CreateModel(
            name="CustodianWebhook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("custodian", models.CharField(max_length=40)),
                ("message_id", models.CharField(max_length=120)),
                ("kind", models.CharField(max_length=60)),
                (
                    "subject",
                    models.CharField(
                        help_text="the custodian's ref of a deposit, our id of a withdrawal", max_length=200
                    ),
                ),
                ("said", models.JSONField()),
                ("heard_at", models.DateTimeField()),
                ("times", models.PositiveIntegerField(default=0, help_text="how often it came")),
            ],
        ),
        migrations.CreateModel(
            name="Reconciliation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("custodian", models.CharField(max_length=40)),
                (
                    "day",
                    models.DateField(
                        help_text="the day whose first it is; null for one that somebody asked for", null=True
                    ),
                ),
                ("made_at", models.DateTimeField()),
                ("checked", models.PositiveIntegerField(help_text="movements compared one by one")),
                ("breaks", models.PositiveIntegerField(help_text="open when it was made")),
            ],
        ),
        migrations.CreateModel(
            name="ReconciliationLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("ledger_quantity", lending.models.fields.AmountField(decimal_places=18, max_digits=38)),
                ("custodian_quantity", lending.models.fields.AmountField(decimal_places=18, max_digits=38)),
                (
                    "under_way",
                    lending.models.fields.AmountField(
                        decimal_places=18,
                        help_text="at the custodian already and not booked yet, or the other way round",
                        max_digits=38,
                    ),
                ),
                (
                    "in_breaks",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="explained by movements that are breaks themselves", max_digits=38
                    ),
                ),
                ("unexplained", lending.models.fields.AmountField(decimal_places=18, max_digits=38)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="custodybreak",
            name="one_open_break",
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="booked",
            field=models.BooleanField(default=False, help_text="two persons took the difference on the desk's books"),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="closed_how",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="explained_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="explained_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="explanation",
            field=models.CharField(blank=True, max_length=400),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="kind",
            field=models.CharField(
                choices=[
                    ("balance", "Balance"),
                    ("deposit", "Deposit"),
                    ("withdrawal", "Withdrawal"),
                    ("exchange", "Exchange"),
                ],
                default="balance",
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="ref",
            field=models.CharField(blank=True, help_text="the movement's id; none for a balance", max_length=200),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="seen_at",
            field=models.DateTimeField(null=True, verbose_name="last seen"),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="words",
            field=models.CharField(blank=True, max_length=300, verbose_name="what was found"),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="worked_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="custodybreak",
            name="worked_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="custodyreading",
            name="reconciled_at",
            field=models.DateTimeField(help_text="when both books were last compared", null=True),
        ),
        migrations.AlterField(
            model_name="custodybreak",
            name="found_at",
            field=models.DateTimeField(verbose_name="first seen"),
        ),
        migrations.AddIndex(
            model_name="custodybreak",
            index=models.Index(condition=models.Q(("closed_at", None)), fields=["asset"], name="open_breaks"),
        ),
        migrations.AddConstraint(
            model_name="custodybreak",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at", None)),
                fields=("custodian", "asset", "kind", "ref"),
                name="one_open_break",
            ),
        ),
        migrations.AddConstraint(
            model_name="custodybreak",
            constraint=models.CheckConstraint(
                condition=models.Q(("explanation", ""), ("explained_by__isnull", False), _connector="OR"),
                name="break_explained_by_somebody",
            ),
        ),
        migrations.AddIndex(
            model_name="custodianwebhook",
            index=models.Index(fields=["heard_at"], name="lending_cus_heard_a_5f3ae3_idx"),
        ),
        migrations.AddConstraint(
            model_name="custodianwebhook",
            constraint=models.UniqueConstraint(fields=("custodian", "message_id"), name="webhook_once"),
        ),
        migrations.AddField(
            model_name="reconciliation",
            name="asked_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="reconciliationline",
            name="asset",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.asset"),
        ),
        migrations.AddField(
            model_name="reconciliationline",
            name="reconciliation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="lending.reconciliation"
            ),
        ),
        migrations.AddConstraint(
            model_name="reconciliation",
            constraint=models.UniqueConstraint(fields=("custodian", "day"), name="one_reconciliation_a_day"),
        ),
        migrations.AddConstraint(
            model_name="reconciliation",
            constraint=models.CheckConstraint(
                condition=models.Q(("day__isnull", False), ("asked_by__isnull", False), _connector="OR"),
                name="reconciliation_of_a_day_or_asked_for",
            ),
        ),
        migrations.AddConstraint(
            model_name="reconciliationline",
            constraint=models.UniqueConstraint(fields=("reconciliation", "asset"), name="one_line_an_asset"),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
