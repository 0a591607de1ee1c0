import django.db.models.deletion
from django.db import migrations, models

import lending.models.fields

# What became principal is final, belongs to the loan of its period, and is all of one number after the other.
GUARDS = """
CREATE FUNCTION lending_check_capitalisation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    period record;
BEGIN
    SELECT r.*, l.client_id AS owner_id, l.schedule_kind INTO period
      FROM public.lending_schedulerow r JOIN public.lending_loan l ON l.id = r.loan_id WHERE r.id = NEW.row_id;
    IF period.schedule_kind <> 'capitalised' OR period.loan_id <> NEW.loan_id OR period.owner_id <> NEW.client_id
       OR period.balance = 0 OR NEW.at <> period.pay_date::timestamp AT TIME ZONE 'UTC' OR NEW.at > NEW.recorded_at
       OR NEW.number <> 1 + (SELECT count(*) FROM public.lending_capitalisation WHERE row_id = NEW.row_id) THEN
        RAISE EXCEPTION 'interest becomes principal at the end of a period of a loan of which that was agreed'
            USING ERRCODE = 'LC001', CONSTRAINT = 'capitalised_as_agreed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_capitalisation_checked BEFORE INSERT ON lending_capitalisation
    FOR EACH ROW EXECUTE FUNCTION lending_check_capitalisation();
CREATE TRIGGER lending_capitalisation_is_final BEFORE UPDATE OR DELETE ON lending_capitalisation
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_capitalisation_stays BEFORE TRUNCATE ON lending_capitalisation
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_capitalisation TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0036_late_fees"),
    ]

    operations = [
        migrations.CreateModel(
            name="Capitalisation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(help_text="start of the day on which the period ends")),
                ("number", models.PositiveSmallIntegerField(default=1)),
                ("amount", lending.models.fields.AmountField(decimal_places=18, max_digits=38)),
                ("recorded_at", models.DateTimeField()),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="correction",
            name="correction_of_a_payment_or_a_rate",
        ),
        migrations.RemoveConstraint(
            model_name="correction",
            name="payment_taken_back_by_two_persons",
        ),
        migrations.RemoveConstraint(
            model_name="loan",
            name="loan_within_its_limit",
        ),
        migrations.AlterField(
            model_name="correction",
            name="kind",
            field=models.CharField(
                choices=[
                    ("payment", "earlier payment"),
                    ("reversal", "payment taken back"),
                    ("waiver", "make-whole waived"),
                    ("rate", "rate reset late"),
                    ("capitalised", "interest capitalised late"),
                ],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="loan",
            name="schedule_kind",
            field=models.CharField(
                choices=[
                    ("bullet", "all at maturity"),
                    ("interest_only", "interest only"),
                    ("equal_principal", "equal principal"),
                    ("equal_instalment", "equal instalments"),
                    ("capitalised", "interest becomes principal"),
                ],
                db_default="bullet",
                default="bullet",
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="product",
            name="schedule_kind",
            field=models.CharField(
                choices=[
                    ("bullet", "all at maturity"),
                    ("interest_only", "interest only"),
                    ("equal_principal", "equal principal"),
                    ("equal_instalment", "equal instalments"),
                    ("capitalised", "interest becomes principal"),
                ],
                db_default="bullet",
                default="bullet",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["payment", "rate", "capitalised"]),
                    models.Q(("checker__isnull", False), ("maker__isnull", False)),
                    _connector="OR",
                ),
                name="payment_taken_back_by_two_persons",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["rate", "capitalised"]), ("repayment__isnull", False), _connector="XOR"
                ),
                name="correction_of_a_payment_or_a_rate",
            ),
        ),
        migrations.AddConstraint(
            model_name="loan",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("tenor", "revolving"),
                    ("schedule_kind", "capitalised"),
                    ("principal_outstanding__lte", models.F("principal")),
                    _connector="OR",
                ),
                name="loan_within_its_limit",
            ),
        ),
        migrations.AddField(
            model_name="capitalisation",
            name="client",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client"),
        ),
        migrations.AddField(
            model_name="capitalisation",
            name="entry",
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to="lending.entry"),
        ),
        migrations.AddField(
            model_name="capitalisation",
            name="loan",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="capitalisations", to="lending.loan"
            ),
        ),
        migrations.AddField(
            model_name="capitalisation",
            name="row",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="capitalisations", to="lending.schedulerow"
            ),
        ),
        migrations.AddConstraint(
            model_name="capitalisation",
            constraint=models.UniqueConstraint(fields=("row", "number"), name="capitalised_once"),
        ),
        migrations.AddConstraint(
            model_name="capitalisation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("amount", 0), ("entry__isnull", True), ("number", 1)),
                    models.Q(models.Q(("amount", 0), _negated=True), ("entry__isnull", False)),
                    _connector="OR",
                ),
                name="capitalised_by_an_entry",
            ),
        ),
        migrations.AddConstraint(
            model_name="capitalisation",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gte", 0), ("number__gt", 1), _connector="OR"),
                name="capitalised_is_not_negative",
            ),
        ),
        *(migrations.RunSQL(sql, migrations.RunSQL.noop) for sql in (GUARDS, GRANTS)),
    ]
