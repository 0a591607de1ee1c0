import django.db.models.deletion
import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What was found stays as it was found. A match leaves OPEN by a decision and TRUE_MATCH by two persons, and nothing else.
GUARDS = """
CREATE FUNCTION lending_keep_match() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    free text[] := ARRAY['state', 'decided_by_id', 'decided_at', 'reason', 'clear_maker_id', 'clear_checker_id',
                         'clear_reason', 'ended_at'];
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'open' THEN
            RAISE EXCEPTION 'a match begins open' USING ERRCODE = 'LE031', CONSTRAINT = 'match_begins_open';
        END IF;
        RETURN NEW;
    END IF;
    IF (to_jsonb(NEW) - free) <> (to_jsonb(OLD) - free) OR OLD.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'what a screening found stays as it is' USING ERRCODE = 'LE032', CONSTRAINT = 'match_stays';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state || ' ' || NEW.state) NOT IN
       ('open false_positive', 'open true_match', 'open lapsed', 'true_match cleared') THEN
        RAISE EXCEPTION 'a match can not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'LE033', CONSTRAINT = 'match_step_declared';
    END IF;
    IF OLD.state = 'true_match' AND NEW.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'a confirmed match ends by two persons alone'
            USING ERRCODE = 'LE034', CONSTRAINT = 'match_confirmed_stays';
    END IF;
    IF OLD.decided_at IS NOT NULL AND (OLD.decided_at, OLD.decided_by_id, OLD.reason)
       IS DISTINCT FROM (NEW.decided_at, NEW.decided_by_id, NEW.reason) THEN
        RAISE EXCEPTION 'a decision is made once' USING ERRCODE = 'LE035', CONSTRAINT = 'match_decided_once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_screeningmatch_steps BEFORE INSERT OR UPDATE ON lending_screeningmatch
    FOR EACH ROW EXECUTE FUNCTION lending_keep_match();
CREATE TRIGGER lending_screeningmatch_is_kept BEFORE DELETE ON lending_screeningmatch
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_screening_is_kept BEFORE DELETE ON lending_screening
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_screeningrule_is_final BEFORE UPDATE OR DELETE ON lending_screeningrule
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
"""
UNGUARD = """
DROP TRIGGER lending_screeningmatch_steps ON lending_screeningmatch;
DROP TRIGGER lending_screeningmatch_is_kept ON lending_screeningmatch;
DROP TRIGGER lending_screening_is_kept ON lending_screening;
DROP TRIGGER lending_screeningrule_is_final ON lending_screeningrule;
DROP FUNCTION lending_keep_match();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_screeningrule, lending_screening, lending_screeningmatch TO app;
        GRANT UPDATE (ended_at) ON lending_screening TO app;
        GRANT UPDATE (state, decided_by_id, decided_at, reason, clear_maker_id, clear_checker_id, clear_reason, ended_at)
            ON lending_screeningmatch TO app;
    END IF;
END $$;
"""


def first_rule(apps, schema_editor):
    apps.get_model("lending", "ScreeningRule").objects.create(
        threshold=85, birth_agrees=5, birth_differs=10, country_agrees=2, country_differs=2, weak_name=3
    )


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0021_product_haircuts"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScreeningRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("threshold", models.PositiveSmallIntegerField(help_text="a score from 0 to 100")),
                ("birth_agrees", models.PositiveSmallIntegerField()),
                ("birth_differs", models.PositiveSmallIntegerField()),
                ("country_agrees", models.PositiveSmallIntegerField()),
                ("country_differs", models.PositiveSmallIntegerField()),
                ("weak_name", models.PositiveSmallIntegerField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("threshold__gte", 50),
                            (
                                "threshold__lte",
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        django.db.models.expressions.CombinedExpression(
                                            models.Value(100), "-", models.F("birth_differs")
                                        ),
                                        "-",
                                        models.F("country_differs"),
                                    ),
                                    "-",
                                    models.F("weak_name"),
                                ),
                            ),
                        ),
                        name="screening_rule_keeps_equal_names",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Screening",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "against",
                    models.CharField(
                        help_text="digest of the list versions, the rule and the way of comparing", max_length=64
                    ),
                ),
                ("versions", models.JSONField(help_text="the lists' versions that were looked at")),
                ("facts", models.JSONField(help_text="who was looked for")),
                ("facts_digest", models.CharField(max_length=64)),
                ("screened_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "client",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="screenings", to="lending.client"
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="lending.screeningrule"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ScreeningMatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                ("subject", models.CharField(help_text="who of the client", max_length=80)),
                ("subject_name", models.CharField(max_length=160)),
                ("subject_digest", models.CharField(max_length=64)),
                ("score", models.PositiveSmallIntegerField()),
                ("why", models.JSONField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("false_positive", "Somebody else"),
                            ("true_match", "True match"),
                            ("cleared", "Cleared by two persons"),
                            ("lapsed", "Taken off the list"),
                        ],
                        default="open",
                        max_length=14,
                    ),
                ),
                ("found_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(null=True)),
                ("reason", models.CharField(blank=True, max_length=400)),
                ("clear_reason", models.CharField(blank=True, max_length=400)),
                (
                    "ended_at",
                    models.DateTimeField(help_text="when it was found anew with other facts, or lapsed", null=True),
                ),
                (
                    "clear_checker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "clear_maker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "client",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="screening_matches",
                        to="lending.client",
                    ),
                ),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "entry",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="matches", to="lending.sanctionsentry"
                    ),
                ),
                (
                    "screening",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="matches", to="lending.screening"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "screening matches",
                "indexes": [
                    models.Index(
                        condition=models.Q(("ended_at__isnull", True)), fields=["client"], name="match_that_counts"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["open", "lapsed"]),
                            models.Q(
                                ("decided_by__isnull", False),
                                ("decided_at__isnull", False),
                                models.Q(("reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="match_decided_by_a_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "cleared"), _negated=True),
                            models.Q(
                                ("clear_maker__isnull", False),
                                ("clear_checker__isnull", False),
                                models.Q(("clear_maker", models.F("clear_checker")), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="match_cleared_by_maker_and_checker",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="screening",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at__isnull", True)), fields=("client",), name="one_screening_counts"
            ),
        ),
        migrations.RunPython(first_rule, migrations.RunPython.noop),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
