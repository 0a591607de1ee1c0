import django.db.models.deletion
import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What was corrected, and by how much, is as final as what it corrects.
GUARDS = "".join(
    f"""
CREATE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
    for table in ("lending_correction", "lending_splitchange")
)
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_correction, lending_splitchange TO app;
    END IF;
END $$;
"""
# A payment that is taken back opens a repaid loan again, and one that is recorded late undoes a default; equal to
# lending.models.LOAN_TRANSITIONS. Neither happens but by a correction of that loan.
REOPENED = """
INSERT INTO lending_loantransition (from_state, to_state)
VALUES ('repaid', 'active'), ('repaid', 'matured'), ('repaid', 'defaulted'),
       ('defaulted', 'active'), ('defaulted', 'matured');
CREATE FUNCTION lending_check_reopened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM lending_correction WHERE loan_id = NEW.id
                   AND kind = CASE OLD.state WHEN 'repaid' THEN 'reversal' ELSE 'payment' END) THEN
        RAISE EXCEPTION 'a loan that is % becomes % by a correction of its payments, and by nothing else',
            OLD.state, NEW.state USING ERRCODE = 'LN003', CONSTRAINT = 'loan_is_reopened_by_a_correction';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_is_reopened BEFORE UPDATE OF state ON lending_loan
    FOR EACH ROW WHEN (OLD.state IN ('repaid', 'defaulted') AND NEW.state IN ('active', 'matured')
                       OR OLD.state = 'repaid' AND NEW.state = 'defaulted')
    EXECUTE FUNCTION lending_check_reopened();
"""
NEVER_REOPENED = """
DROP TRIGGER lending_loan_is_reopened ON lending_loan;
DROP FUNCTION lending_check_reopened();
DELETE FROM lending_loantransition
 WHERE from_state IN ('repaid', 'defaulted') AND to_state IN ('active', 'matured')
    OR from_state = 'repaid' AND to_state = 'defaulted';
"""
# Equal to lending.models.OBLIGATION_TRANSITIONS.
STEP = """
CREATE OR REPLACE FUNCTION lending_check_obligation_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'expected' THEN
            RAISE EXCEPTION 'an obligation begins as expected, not as %', NEW.state
                USING ERRCODE = 'LN002', CONSTRAINT = 'obligation_transition_declared';
        END IF;
    ELSIF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('expected', 'noticed'), ('noticed', 'due'), ('due', 'late'), ('late', 'defaulted'),
        ('expected', 'met'), ('noticed', 'met'), ('due', 'met'), ('late', 'met'),
        ('expected', 'cancelled'), ('noticed', 'cancelled'), ('due', 'cancelled'), ('late', 'cancelled'),
        ('defaulted', 'late')UNDECLARED
    )UNLESS THEN
        RAISE EXCEPTION 'an obligation can not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'LN002', CONSTRAINT = 'obligation_transition_declared';
    END IF;
    RETURN NEW;
END $$;
"""
# Equal to lending.models.CORRECTED_TRANSITIONS: what was met is open again after a payment was taken back, and a
# default is undone by a payment that is recorded late.
CORRECTED = """ AND NOT ((OLD.state, NEW.state) IN (
        ('met', 'expected'), ('met', 'noticed'), ('met', 'due'), ('met', 'late'), ('met', 'cancelled'),
        ('cancelled', 'expected'), ('cancelled', 'noticed'), ('cancelled', 'due'), ('cancelled', 'late'),
        ('cancelled', 'met'), ('defaulted', 'met')
    ) AND EXISTS (SELECT FROM lending_correction WHERE loan_id = NEW.loan_id
                  AND (kind = 'reversal' OR OLD.state <> 'met')))"""
OBLIGATIONS = STEP.replace("UNDECLARED", "").replace("UNLESS", CORRECTED)
AS_BEFORE = STEP.replace("UNDECLARED", ",\n        ('met', 'expected')").replace("UNLESS", "")


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0022_screening"),
    ]

    operations = [
        migrations.CreateModel(
            name="Correction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("payment", "earlier payment"), ("reversal", "payment taken back")], max_length=12
                    ),
                ),
                (
                    "cause",
                    models.CharField(
                        choices=[
                            ("late", "recorded late"),
                            ("wrong", "booked wrongly"),
                            ("bounced", "the transfer came back"),
                        ],
                        max_length=12,
                    ),
                ),
                ("reason", models.CharField(max_length=400)),
                ("effective_at", models.DateTimeField(help_text="from when the past is another")),
                ("recorded_at", models.DateTimeField()),
                (
                    "interest",
                    lending.models.fields.AmountField(
                        decimal_places=18,
                        help_text="interest that was posted more for it; negative: less",
                        max_digits=38,
                    ),
                ),
                (
                    "checker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("client", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client")),
                (
                    "loan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="corrections", to="lending.loan"
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
                    "repayment",
                    models.ForeignKey(
                        help_text="entered late, or taken back",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="corrections",
                        to="lending.repayment",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SplitChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "amount",
                    lending.models.fields.AmountField(
                        decimal_places=18,
                        default=0,
                        help_text="zero; of a payment that is taken back, all of it",
                        max_digits=38,
                    ),
                ),
                ("fees", lending.models.fields.AmountField(decimal_places=18, default=0, max_digits=38)),
                ("interest", lending.models.fields.AmountField(decimal_places=18, default=0, max_digits=38)),
                ("principal", lending.models.fields.AmountField(decimal_places=18, default=0, max_digits=38)),
                ("surplus", lending.models.fields.AmountField(decimal_places=18, default=0, max_digits=38)),
                ("client", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client")),
                (
                    "correction",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="split_changes",
                        to="lending.correction",
                    ),
                ),
                ("entry", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.entry")),
                (
                    "repayment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="split_changes",
                        to="lending.repayment",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("checker__isnull", True), ("maker__isnull", True)),
                    models.Q(("checker__isnull", False), models.Q(("maker", models.F("checker")), _negated=True)),
                    _connector="OR",
                ),
                name="correction_by_two_persons",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "reversal"), _negated=True),
                    models.Q(("checker__isnull", False), ("maker__isnull", False)),
                    _connector="OR",
                ),
                name="payment_taken_back_by_two_persons",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "reversal")), fields=("repayment",), name="payment_taken_back_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="splitchange",
            constraint=models.UniqueConstraint(fields=("correction", "repayment"), name="split_change_once"),
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
                                    models.F("fees"), "+", models.F("interest")
                                ),
                                "+",
                                models.F("principal"),
                            ),
                            "+",
                            models.F("surplus"),
                        ),
                    )
                ),
                name="split_change_is_whole",
            ),
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="obligation",
            name="announced_at",
            field=models.DateTimeField(help_text="since when it asks for its amount", null=True),
        ),
        migrations.RunSQL(REOPENED, NEVER_REOPENED),
        migrations.RunSQL(OBLIGATIONS, AS_BEFORE),
    ]
