from decimal import Decimal

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.models.fields

# What a benchmark was fixed at stays as it was recorded: a correction is another row, and numbers follow each other.
FIXINGS = """
CREATE FUNCTION lending_check_fixing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.effective_date > (NEW.recorded_at AT TIME ZONE 'UTC')::date
       OR NEW.number <> 1 + (SELECT count(*) FROM lending_fixing
                              WHERE benchmark_id = NEW.benchmark_id AND effective_date = NEW.effective_date) THEN
        RAISE EXCEPTION 'a fixing is of a day that has come, and corrects the one before it of the same day'
            USING ERRCODE = 'LB001', CONSTRAINT = 'fixings_follow';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_fixing_checked BEFORE INSERT ON lending_fixing
    FOR EACH ROW EXECUTE FUNCTION lending_check_fixing();
"""
KEPT = "".join(
    f"""
CREATE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
    for table in ("lending_benchmark", "lending_fixing")
)

# A rate is what both sides agreed on, or what a fixing of the loan's own benchmark comes to by its terms. A fixing is
# the newest that is known of its day, and no other is nearer to the day that it is for.
RATES = """
CREATE OR REPLACE FUNCTION lending_check_rate_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    loan record;
    agreed record;
    fixed record;
    wanted numeric;
BEGIN
    SELECT * INTO loan FROM public.lending_loan WHERE id = NEW.loan_id;
    IF NEW.fixing_id IS NOT NULL THEN
        SELECT f.*, b.code INTO fixed
          FROM public.lending_fixing f JOIN public.lending_benchmark b ON b.id = f.benchmark_id
         WHERE f.id = NEW.fixing_id;
        wanted := greatest(fixed.rate + loan.spread, loan.rate_floor);
        IF loan.rate_cap > 0 THEN
            wanted := least(wanted, loan.rate_cap);
        END IF;
        IF NEW.client_id <> loan.client_id OR fixed.code <> loan.benchmark OR NEW.annual_rate <> wanted
           OR NEW.default_rate - NEW.annual_rate <> loan.default_rate - loan.annual_rate
           OR fixed.effective_date > NEW.fixing_date OR NEW.at > NEW.recorded_at
           OR EXISTS (SELECT FROM public.lending_fixing f
                       WHERE f.benchmark_id = fixed.benchmark_id AND f.effective_date <= NEW.fixing_date
                         AND (f.effective_date, f.number) > (fixed.effective_date, fixed.number))
           OR NEW.number <> 1 + (SELECT count(*) FROM public.lending_ratestep
                                  WHERE loan_id = NEW.loan_id AND at = NEW.at)
           OR NOT EXISTS (SELECT FROM public.lending_ratestep
                           WHERE loan_id = NEW.loan_id AND at = loan.start_at AND fixing_id IS NULL)
           OR NEW.at <= loan.start_at THEN
            RAISE EXCEPTION 'a rate is reset to what the fixing of its benchmark comes to by the terms of the loan'
                USING ERRCODE = 'LB002', CONSTRAINT = 'rate_reset_by_its_fixing';
        END IF;
        RETURN NEW;
    END IF;
    SELECT a.loan_id, a.state, coalesce(a.from_at, a.agreed_at) AS at, s.content::jsonb -> 'loan' AS terms INTO agreed
      FROM public.lending_amendment a JOIN public.lending_termsheet s ON s.id = a.sheet_id
     WHERE a.id = NEW.amendment_id;
    IF NEW.client_id <> loan.client_id OR (CASE WHEN NEW.amendment_id IS NULL THEN
        (NEW.at, NEW.annual_rate, NEW.default_rate) IS DISTINCT FROM (loan.start_at, loan.annual_rate, loan.default_rate)
        OR EXISTS (SELECT FROM public.lending_ratestep WHERE loan_id = NEW.loan_id)
    ELSE
        agreed.loan_id IS DISTINCT FROM NEW.loan_id OR agreed.state <> 'agreed' OR NEW.at <> agreed.at
        OR NEW.at < loan.accrued_at OR loan.benchmark <> ''
        OR NEW.at <= (SELECT max(at) FROM public.lending_ratestep WHERE loan_id = NEW.loan_id)
        OR NOT EXISTS (SELECT FROM public.lending_ratestep WHERE loan_id = NEW.loan_id)
        OR (agreed.terms ->> 'annual_rate')::numeric <> NEW.annual_rate
        OR (agreed.terms ->> 'default_rate')::numeric <> NEW.default_rate
    END) THEN
        RAISE EXCEPTION 'rates change from now on, to those of an amendment that both sides agreed on'
            USING ERRCODE = 'LA005', CONSTRAINT = 'rates_as_agreed';
    END IF;
    RETURN NEW;
END $$;
"""

# The rates of a running loan that floats are those of one of its steps; all else stands in its sheet as ever.
TERMS = """
CREATE OR REPLACE FUNCTION lending_check_terms_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed jsonb := (
        SELECT s.content::jsonb -> 'loan' FROM public.lending_termsheet s
        WHERE s.loan_id = NEW.id AND (OLD.state = 'quoted' OR s.version = 1 OR EXISTS (
            SELECT FROM public.lending_termsheetacceptance a WHERE a.sheet_id = s.id))
        ORDER BY s.version DESC LIMIT 1
    );
    is_reset boolean := NEW.benchmark <> '' AND EXISTS (
        SELECT FROM public.lending_ratestep r WHERE r.loan_id = NEW.id
           AND (r.annual_rate, r.default_rate) = (NEW.annual_rate, NEW.default_rate));
BEGIN
    IF agreed IS NOT NULL AND (
        (agreed ->> 'principal')::numeric <> NEW.principal
        OR NOT is_reset AND ((agreed ->> 'annual_rate')::numeric <> NEW.annual_rate
                             OR (agreed ->> 'default_rate')::numeric <> NEW.default_rate)
        OR (agreed ->> 'origination_fee')::numeric <> NEW.origination_fee
        OR agreed ->> 'day_count' <> NEW.day_count
        OR nullif(agreed ->> 'maturity_date', '')::date IS DISTINCT FROM NEW.maturity_date
        OR agreed ->> 'schedule_kind' <> NEW.schedule_kind
        OR (agreed ->> 'frequency_months')::integer <> NEW.frequency_months
        OR agreed ->> 'calendar' <> NEW.calendar
        OR agreed ->> 'payout_address' <> NEW.payout_address
        OR agreed ->> 'asset' <> (SELECT code FROM public.lending_asset WHERE id = NEW.asset_id)
    ) THEN
        RAISE EXCEPTION 'a loan runs by its term sheet: other terms are a new version of it'
            USING ERRCODE = 'LT004', CONSTRAINT = 'loan_runs_by_its_term_sheet';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION lending_check_loan_is_amended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.benchmark <> '' AND EXISTS (
           SELECT FROM public.lending_ratestep r WHERE r.loan_id = NEW.id
              AND (r.annual_rate, r.default_rate) = (NEW.annual_rate, NEW.default_rate))
       AND NEW.maturity_date IS NOT DISTINCT FROM OLD.maturity_date
       AND NOT (OLD.state = 'matured' AND NEW.state = 'active') THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (
        SELECT FROM public.lending_amendment a JOIN public.lending_termsheet s ON s.id = a.sheet_id
         WHERE a.loan_id = NEW.id AND a.state = 'agreed'
           AND CASE WHEN NEW.benchmark <> ''
                    THEN (NEW.annual_rate, NEW.default_rate) = (OLD.annual_rate, OLD.default_rate)
                    ELSE (s.content::jsonb #>> '{loan,annual_rate}')::numeric = NEW.annual_rate
                     AND (s.content::jsonb #>> '{loan,default_rate}')::numeric = NEW.default_rate END
           AND (s.content::jsonb #>> '{loan,maturity_date}')::date IS NOT DISTINCT FROM NEW.maturity_date
    ) THEN
        RAISE EXCEPTION 'the terms of a loan that runs change by an amendment that both sides agreed on'
            USING ERRCODE = 'LA007', CONSTRAINT = 'running_loan_is_amended';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION lending_check_rate_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed jsonb := (
        SELECT s.content::jsonb -> 'loan' FROM public.lending_termsheet s
        WHERE s.loan_id = NEW.id ORDER BY s.version DESC LIMIT 1
    );
BEGIN
    IF agreed IS NOT NULL AND (
        coalesce(agreed ->> 'benchmark', ''), coalesce((agreed ->> 'spread')::numeric, 0),
        coalesce((agreed ->> 'rate_floor')::numeric, 0), coalesce((agreed ->> 'rate_cap')::numeric, 0),
        coalesce((agreed ->> 'reset_months')::integer, 0), coalesce((agreed ->> 'fixing_lag_days')::integer, 0),
        coalesce((agreed ->> 'step_up')::numeric, 0), nullif(agreed ->> 'step_up_date', '')::date
    ) IS DISTINCT FROM (
        NEW.benchmark::text, NEW.spread, NEW.rate_floor, NEW.rate_cap, NEW.reset_months::integer,
        NEW.fixing_lag_days::integer, NEW.step_up, NEW.step_up_date
    ) THEN
        RAISE EXCEPTION 'a loan runs by its term sheet: other terms are a new version of it'
            USING ERRCODE = 'LT004', CONSTRAINT = 'loan_runs_by_its_term_sheet';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_keeps_its_rate BEFORE UPDATE
    OF benchmark, spread, rate_floor, rate_cap, reset_months, fixing_lag_days, step_up, step_up_date ON lending_loan
    FOR EACH ROW WHEN (
        (OLD.benchmark, OLD.spread, OLD.rate_floor, OLD.rate_cap, OLD.reset_months, OLD.fixing_lag_days, OLD.step_up,
         OLD.step_up_date) IS DISTINCT FROM
        (NEW.benchmark, NEW.spread, NEW.rate_floor, NEW.rate_cap, NEW.reset_months, NEW.fixing_lag_days, NEW.step_up,
         NEW.step_up_date))
    EXECUTE FUNCTION lending_check_rate_of_loan();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_benchmark, lending_fixing TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0034_prepayments"),
    ]

    operations = [
        migrations.CreateModel(
            name="Benchmark",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(max_length=20, unique=True)),
                ("name", models.CharField(max_length=80)),
            ],
        ),
        migrations.CreateModel(
            name="Fixing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("effective_date", models.DateField()),
                ("number", models.PositiveSmallIntegerField(default=1, help_text="2 and above correct the one before")),
                (
                    "rate",
                    lending.models.fields.RatioField(
                        decimal_places=12, help_text="a year; it may be below zero", max_digits=20
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="ratestep",
            name="rate_step_once",
        ),
        migrations.AddField(
            model_name="loan",
            name="benchmark",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="that the rate follows; empty: it is fixed",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="fixing_lag_days",
            field=models.PositiveSmallIntegerField(
                blank=True,
                db_default=0,
                default=0,
                help_text="business days from the fixing to the reset that it is for",
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="next_reset_at",
            field=models.DateTimeField(
                help_text="when its rate is reset next; empty: its resets are to be looked at anew", null=True
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="rate_cap",
            field=lending.models.fields.RatioField(
                blank=True,
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year: never above it; 0: no cap",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="rate_floor",
            field=lending.models.fields.RatioField(
                blank=True,
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year: the rate is never below it",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="reset_months",
            field=models.PositiveSmallIntegerField(
                blank=True,
                choices=[
                    (0, "never"),
                    (1, "every month"),
                    (3, "every three months"),
                    (6, "every six months"),
                    (12, "every year"),
                ],
                db_default=0,
                default=0,
                help_text="from reset to reset, counted like the periods of interest",
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="spread",
            field=lending.models.fields.RatioField(
                blank=True,
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year, over the benchmark",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="step_up",
            field=lending.models.fields.RatioField(
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year, added to every rate from a day on",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="loan",
            name="step_up_date",
            field=models.DateField(help_text="from the start of which it is added", null=True),
        ),
        migrations.AddField(
            model_name="product",
            name="benchmark",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="that the rate follows; empty: it is fixed",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="fixing_lag_days",
            field=models.PositiveSmallIntegerField(
                blank=True,
                db_default=0,
                default=0,
                help_text="business days from the fixing to the reset that it is for",
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="rate_cap",
            field=lending.models.fields.RatioField(
                blank=True,
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year: never above it; 0: no cap",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="rate_floor",
            field=lending.models.fields.RatioField(
                blank=True,
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year: the rate is never below it",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="reset_months",
            field=models.PositiveSmallIntegerField(
                blank=True,
                choices=[
                    (0, "never"),
                    (1, "every month"),
                    (3, "every three months"),
                    (6, "every six months"),
                    (12, "every year"),
                ],
                db_default=0,
                default=0,
                help_text="from reset to reset, counted like the periods of interest",
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="spread",
            field=lending.models.fields.RatioField(
                blank=True,
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="a year, over the benchmark",
                max_digits=20,
            ),
        ),
        migrations.AddField(
            model_name="ratestep",
            name="fixing_date",
            field=models.DateField(help_text="whose fixing a reset is by, or the last that is known before", null=True),
        ),
        migrations.AddField(
            model_name="ratestep",
            name="number",
            field=models.PositiveSmallIntegerField(db_default=1, default=1),
        ),
        migrations.AddField(
            model_name="ratestep",
            name="recorded_at",
            field=models.DateTimeField(help_text="when a reset was recorded", null=True),
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
                ],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="correction",
            name="repayment",
            field=models.ForeignKey(
                help_text="entered late, taken back, or freed; of a rate that was reset late there is none",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="corrections",
                to="lending.repayment",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind", "rate"), ("repayment__isnull", False), _connector="XOR"),
                name="correction_of_a_payment_or_a_rate",
            ),
        ),
        migrations.AddConstraint(
            model_name="loan",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("benchmark", ""),
                        ("fixing_lag_days", 0),
                        ("rate_cap", 0),
                        ("rate_floor", 0),
                        ("reset_months", 0),
                        ("spread", 0),
                    ),
                    models.Q(
                        models.Q(("benchmark", ""), _negated=True),
                        ("rate_cap__lt", 1),
                        ("rate_floor__gte", 0),
                        ("rate_floor__lt", 1),
                        ("reset_months__gt", 0),
                        ("spread__gte", 0),
                        ("spread__lt", 1),
                        models.Q(("rate_cap", 0), ("rate_cap__gte", models.F("rate_floor")), _connector="OR"),
                        models.Q(("schedule_kind", "equal_instalment"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="loan_rate_is_one_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="loan",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("step_up", 0), ("step_up_date__isnull", True)),
                    models.Q(
                        ("step_up__gt", 0),
                        ("step_up__lt", 1),
                        ("step_up_date__isnull", False),
                        models.Q(("schedule_kind", "equal_instalment"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="loan_steps_up_from_a_day",
            ),
        ),
        migrations.AddConstraint(
            model_name="product",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("benchmark", ""),
                        ("fixing_lag_days", 0),
                        ("rate_cap", 0),
                        ("rate_floor", 0),
                        ("reset_months", 0),
                        ("spread", 0),
                    ),
                    models.Q(
                        models.Q(("benchmark", ""), _negated=True),
                        ("rate_cap__lt", 1),
                        ("rate_floor__gte", 0),
                        ("rate_floor__lt", 1),
                        ("reset_months__gt", 0),
                        ("spread__gte", 0),
                        ("spread__lt", 1),
                        models.Q(("rate_cap", 0), ("rate_cap__gte", models.F("rate_floor")), _connector="OR"),
                        models.Q(("schedule_kind", "equal_instalment"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="product_rate_is_one_kind",
                violation_error_message="A rate is fixed, with nothing said of spread, floor, cap and resets; or it follows a benchmark, has resets, a cap that is none or not below its floor, and no equal instalments.",
            ),
        ),
        migrations.AddField(
            model_name="fixing",
            name="benchmark",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="fixings", to="lending.benchmark"
            ),
        ),
        migrations.AddField(
            model_name="fixing",
            name="checker",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="fixing",
            name="maker",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="ratestep",
            name="fixing",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="rate_steps", to="lending.fixing"
            ),
        ),
        migrations.AddConstraint(
            model_name="ratestep",
            constraint=models.UniqueConstraint(fields=("loan", "at", "number"), name="rate_step_once"),
        ),
        migrations.AddConstraint(
            model_name="ratestep",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("fixing__isnull", True),
                        ("fixing_date__isnull", True),
                        ("number", 1),
                        ("recorded_at__isnull", True),
                    ),
                    models.Q(
                        ("amendment__isnull", True),
                        ("fixing__isnull", False),
                        ("fixing_date__isnull", False),
                        ("recorded_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="rate_step_by_amendment_or_fixing",
            ),
        ),
        migrations.AddConstraint(
            model_name="fixing",
            constraint=models.UniqueConstraint(fields=("benchmark", "effective_date", "number"), name="fixing_once"),
        ),
        migrations.AddConstraint(
            model_name="fixing",
            constraint=models.CheckConstraint(
                condition=models.Q(("maker", models.F("checker")), _negated=True), name="fixing_maker_is_not_checker"
            ),
        ),
        migrations.AddConstraint(
            model_name="fixing",
            constraint=models.CheckConstraint(
                condition=models.Q(("rate__gt", Decimal("-0.1")), ("rate__lt", 1)), name="fixing_is_a_rate"
            ),
        ),
        migrations.RemoveConstraint(model_name="correction", name="payment_taken_back_by_two_persons"),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["payment", "rate"]),
                    models.Q(("checker__isnull", False), ("maker__isnull", False)),
                    _connector="OR",
                ),
                name="payment_taken_back_by_two_persons",
            ),
        ),
        *(migrations.RunSQL(sql, migrations.RunSQL.noop) for sql in (FIXINGS, KEPT, RATES, TERMS, GRANTS)),
    ]
