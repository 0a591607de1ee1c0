from django.db import migrations

# A reset is by the spread that was agreed when its day came: one that was amended counts for the resets after it.
RATES = """
CREATE OR REPLACE FUNCTION lending_check_rate_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    loan record;
    agreed record;
    fixed record;
    spread numeric;
    wanted numeric;
BEGIN
    SELECT * INTO loan FROM public.lending_loan WHERE id = NEW.loan_id;
    IF NEW.fixing_id IS NOT NULL THEN
        SELECT f.*, b.code INTO fixed
          FROM public.lending_fixing f JOIN public.lending_benchmark b ON b.id = f.benchmark_id
         WHERE f.id = NEW.fixing_id;
        spread := coalesce((
            SELECT (s.content::jsonb #>> '{amends,before,loan,spread}')::numeric
              FROM public.lending_amendment a JOIN public.lending_termsheet s ON s.id = a.sheet_id
             WHERE a.loan_id = NEW.loan_id AND a.in_force_at > NEW.at
               AND s.content::jsonb #> '{amends,before,loan}' ? 'spread'
             ORDER BY a.in_force_at LIMIT 1), loan.spread);
        wanted := greatest(fixed.rate + spread, loan.rate_floor);
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

# What a running loan follows changes to what its client has accepted, not to what was merely proposed.
LOANS = """
CREATE OR REPLACE FUNCTION lending_check_rate_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed jsonb := (
        SELECT s.content::jsonb -> 'loan' FROM public.lending_termsheet s
        WHERE s.loan_id = NEW.id AND (OLD.state = 'quoted' OR s.version = 1 OR EXISTS (
            SELECT FROM public.lending_termsheetacceptance a WHERE a.sheet_id = s.id))
        ORDER BY s.version DESC LIMIT 1
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
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0038_overdue"),
    ]

    operations = [migrations.RunSQL(sql, migrations.RunSQL.noop) for sql in (RATES, LOANS)]
