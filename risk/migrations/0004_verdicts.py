import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What people said about a call is evidence: a waiver stays as it was granted, a dispute is answered once.
GUARDS = """
CREATE FUNCTION risk_check_dispute() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.outcome <> ''
       OR (to_jsonb(NEW) - ARRAY['outcome', 'answer', 'answered_at', 'agreed', 'maker_id', 'checker_id'])
          <> (to_jsonb(OLD) - ARRAY['outcome', 'answer', 'answered_at', 'agreed', 'maker_id', 'checker_id']) THEN
        RAISE EXCEPTION 'a dispute can only be answered, once' USING ERRCODE = 'RK006';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER risk_dispute_is_answered_once BEFORE UPDATE ON risk_dispute
    FOR EACH ROW EXECUTE FUNCTION risk_check_dispute();
"""
UNGUARD = """
DROP TRIGGER risk_dispute_is_answered_once ON risk_dispute;
DROP FUNCTION risk_check_dispute();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON risk_waiver TO app;
        GRANT SELECT, INSERT, UPDATE (outcome, answer, answered_at, agreed, maker_id, checker_id) ON risk_dispute TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0006_freeze"),
        ("risk", "0003_handling"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Dispute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                (
                    "part",
                    models.CharField(
                        choices=[
                            ("price", "the price of an asset"),
                            ("quantity", "how much of an asset is pledged"),
                            ("debt", "what is owed"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "ours",
                    lending.models.fields.AmountField(
                        decimal_places=18,
                        help_text="USD, or units of the asset where the quantity is disputed",
                        max_digits=38,
                    ),
                ),
                (
                    "claimed",
                    lending.models.fields.AmountField(
                        decimal_places=18, help_text="the same, as the borrower has it", max_digits=38
                    ),
                ),
                ("statement", models.CharField(max_length=1000)),
                (
                    "undisputed",
                    lending.models.fields.RatioField(
                        decimal_places=12,
                        help_text="part of the demand that is due on the borrower's own figure too",
                        max_digits=20,
                    ),
                ),
                ("opened_at", models.DateTimeField()),
                (
                    "answer_due_at",
                    models.DateTimeField(help_text="until then the clock stands still for the disputed part"),
                ),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("call_stands", "the call stands"),
                            ("amended", "the call is amended"),
                            ("withdrawn", "the call is withdrawn"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "agreed",
                    lending.models.fields.AmountField(
                        decimal_places=18,
                        help_text="the figure that an amended call rests on",
                        max_digits=38,
                        null=True,
                    ),
                ),
                ("answer", models.CharField(blank=True, max_length=1000)),
                ("answered_at", models.DateTimeField(null=True)),
                (
                    "asset",
                    models.ForeignKey(
                        help_text="none for what is owed",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="lending.asset",
                    ),
                ),
                (
                    "call",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="dispute", to="risk.margincall"
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
                    "maker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "opened_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("answered_at__isnull", True),
                                ("checker__isnull", True),
                                ("maker__isnull", True),
                                ("outcome", ""),
                            ),
                            models.Q(
                                models.Q(("outcome", ""), _negated=True),
                                ("answered_at__isnull", False),
                                ("maker__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="dispute_answered_by_somebody",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("outcome__in", ["", "call_stands"]),
                            models.Q(
                                ("checker__isnull", False), models.Q(("maker", models.F("checker")), _negated=True)
                            ),
                            _connector="OR",
                        ),
                        name="dispute_given_in_by_maker_and_checker",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("asset__isnull", True), ("part", "debt")),
                            models.Q(models.Q(("part", "debt"), _negated=True), ("asset__isnull", False)),
                            _connector="OR",
                        ),
                        name="dispute_of_an_asset_or_of_debt",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Waiver",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "level",
                    models.CharField(
                        choices=[("call", "Call"), ("accelerated", "Accelerated")],
                        help_text="a higher one ends it",
                        max_length=12,
                    ),
                ),
                ("reason", models.CharField(max_length=400)),
                ("granted_at", models.DateTimeField()),
                ("until", models.DateTimeField()),
                (
                    "call",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="waivers", to="risk.margincall"
                    ),
                ),
                (
                    "checker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("client", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client")),
                (
                    "maker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "margin_account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="waivers", to="lending.marginaccount"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["margin_account", "until"], name="risk_waiver_margin__474e86_idx")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("maker", models.F("checker")), _negated=True),
                        name="waiver_maker_is_not_checker",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("until__gt", models.F("granted_at"))), name="waiver_ends"
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
