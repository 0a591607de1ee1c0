import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What was proposed stays as it was read; its state goes the declared way, equal to lending.models.AMENDMENT_TRANSITIONS.
AMENDMENTS = """
CREATE FUNCTION lending_check_amendment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    loan record;
    sheet record;
BEGIN
    SELECT * INTO loan FROM public.lending_loan WHERE id = NEW.loan_id;
    SELECT s.*, (SELECT max(n.version) FROM public.lending_termsheet n WHERE n.loan_id = s.loan_id) AS newest,
           (SELECT signer_id FROM public.lending_termsheetacceptance a WHERE a.sheet_id = s.id) AS signer_id
        INTO sheet FROM public.lending_termsheet s WHERE s.id = NEW.sheet_id;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'proposed' OR loan.start_at IS NULL OR loan.state NOT IN ('active', 'matured')
           OR NEW.client_id <> loan.client_id OR sheet.loan_id <> NEW.loan_id OR sheet.version <> sheet.newest
           OR sheet.signer_id IS NOT NULL THEN
            RAISE EXCEPTION 'an amendment begins as a proposal of the newest term sheet of a running loan'
                USING ERRCODE = 'LA001', CONSTRAINT = 'amendment_of_running_loan';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.public_id, NEW.client_id, NEW.loan_id, NEW.sheet_id, NEW.instead_of_id, NEW.from_at, NEW.expires_at,
        NEW.reason, NEW.maker_id, NEW.proposed_at)
       IS DISTINCT FROM
       (OLD.public_id, OLD.client_id, OLD.loan_id, OLD.sheet_id, OLD.instead_of_id, OLD.from_at, OLD.expires_at,
        OLD.reason, OLD.maker_id, OLD.proposed_at) THEN
        RAISE EXCEPTION 'what was proposed stays: other terms are another amendment'
            USING ERRCODE = 'LA002', CONSTRAINT = 'amendment_is_frozen';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('proposed', 'approved'), ('proposed', 'rejected'), ('approved', 'agreed'), ('approved', 'declined'),
        ('proposed', 'withdrawn'), ('approved', 'withdrawn'), ('proposed', 'expired'), ('approved', 'expired'),
        ('agreed', 'in_force')
    ) THEN
        RAISE EXCEPTION 'an amendment can not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'LA003', CONSTRAINT = 'amendment_transition_declared';
    END IF;
    IF NEW.state = 'agreed' AND NEW.signer_id IS DISTINCT FROM sheet.signer_id THEN
        RAISE EXCEPTION 'an amendment is agreed by whoever accepted its term sheet'
            USING ERRCODE = 'LA004', CONSTRAINT = 'amendment_agreed_by_its_term_sheet';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_amendment_checked BEFORE INSERT OR UPDATE ON lending_amendment
    FOR EACH ROW EXECUTE FUNCTION lending_check_amendment();
CREATE TRIGGER lending_amendment_is_kept BEFORE DELETE ON lending_amendment
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_amendment_stays BEFORE TRUNCATE ON lending_amendment
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""

# Rates count from an instant up to which no interest is posted yet, and are those that both sides agreed on.
RATES = """
CREATE FUNCTION lending_check_rate_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    loan record;
    agreed record;
BEGIN
    SELECT * INTO loan FROM public.lending_loan WHERE id = NEW.loan_id;
    SELECT a.loan_id, a.state, coalesce(a.from_at, a.agreed_at) AS at, s.content::jsonb -> 'loan' AS terms INTO agreed
      FROM public.lending_amendment a JOIN public.lending_termsheet s ON s.id = a.sheet_id
     WHERE a.id = NEW.amendment_id;
    IF NEW.client_id <> loan.client_id OR (CASE WHEN NEW.amendment_id IS NULL THEN
        (NEW.at, NEW.annual_rate, NEW.default_rate) IS DISTINCT FROM (loan.start_at, loan.annual_rate, loan.default_rate)
        OR EXISTS (SELECT FROM public.lending_ratestep WHERE loan_id = NEW.loan_id)
    ELSE
        agreed.loan_id IS DISTINCT FROM NEW.loan_id OR agreed.state <> 'agreed' OR NEW.at <> agreed.at
        OR NEW.at < loan.accrued_at
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
CREATE TRIGGER lending_ratestep_checked BEFORE INSERT ON lending_ratestep
    FOR EACH ROW EXECUTE FUNCTION lending_check_rate_step();
CREATE TRIGGER lending_ratestep_is_final BEFORE UPDATE OR DELETE ON lending_ratestep
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER lending_ratestep_stays BEFORE TRUNCATE ON lending_ratestep
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""

# A sheet of a loan that runs is accepted only once a second person of the desk has approved it, and what the loan runs
# by is the newest sheet that was accepted: one that was merely proposed changes nothing.
SHEETS = """
CREATE OR REPLACE FUNCTION lending_check_acceptance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    sheet record;
BEGIN
    SELECT s.client_id, s.content_hash, s.version, l.state,
           (SELECT max(n.version) FROM public.lending_termsheet n WHERE n.loan_id = s.loan_id) AS newest,
           (SELECT state FROM public.lending_amendment a WHERE a.sheet_id = s.id) AS amendment
        INTO sheet
        FROM public.lending_termsheet s JOIN public.lending_loan l ON l.id = s.loan_id WHERE s.id = NEW.sheet_id;
    IF NEW.content_hash IS DISTINCT FROM sheet.content_hash OR NEW.client_id IS DISTINCT FROM sheet.client_id
       OR sheet.version <> sheet.newest THEN
        RAISE EXCEPTION 'an acceptance binds to the hash and the client of the newest term sheet of a loan'
            USING ERRCODE = 'LT003', CONSTRAINT = 'acceptance_of_newest_hash';
    END IF;
    IF sheet.state NOT IN ('quoted', 'cancelled') AND sheet.amendment IS DISTINCT FROM 'approved' THEN
        RAISE EXCEPTION 'other terms of a running loan are accepted once a second person of the desk approved them'
            USING ERRCODE = 'LA006', CONSTRAINT = 'acceptance_of_approved_amendment';
    END IF;
    RETURN NEW;
END $$;
"""
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
BEGIN
    IF agreed IS NOT NULL AND (
        (agreed ->> 'principal')::numeric <> NEW.principal
        OR (agreed ->> 'annual_rate')::numeric <> NEW.annual_rate
        OR (agreed ->> 'default_rate')::numeric <> NEW.default_rate
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
"""

# Once a loan was paid out, its rates, its maturity and its ladder change by what both sides agreed on, or not at all.
LOANS = """
CREATE FUNCTION lending_check_loan_is_amended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.lending_amendment a JOIN public.lending_termsheet s ON s.id = a.sheet_id
         WHERE a.loan_id = NEW.id AND a.state = 'agreed'
           AND (s.content::jsonb #>> '{loan,annual_rate}')::numeric = NEW.annual_rate
           AND (s.content::jsonb #>> '{loan,default_rate}')::numeric = NEW.default_rate
           AND (s.content::jsonb #>> '{loan,maturity_date}')::date IS NOT DISTINCT FROM NEW.maturity_date
    ) THEN
        RAISE EXCEPTION 'the terms of a loan that runs change by an amendment that both sides agreed on'
            USING ERRCODE = 'LA007', CONSTRAINT = 'running_loan_is_amended';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_is_amended BEFORE UPDATE ON lending_loan FOR EACH ROW
    WHEN (OLD.state NOT IN ('quoted', 'accepted', 'approved', 'collateral_pending')
          AND ((OLD.annual_rate, OLD.default_rate, OLD.maturity_date)
               IS DISTINCT FROM (NEW.annual_rate, NEW.default_rate, NEW.maturity_date)
               OR OLD.state = 'matured' AND NEW.state = 'active'))
    EXECUTE FUNCTION lending_check_loan_is_amended();

CREATE FUNCTION lending_check_ladder_is_amended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    wanted jsonb := (SELECT to_jsonb(t) FROM public.lending_ladderterms t WHERE t.id = NEW.terms_id);
BEGIN
    IF EXISTS (SELECT FROM public.lending_loan WHERE margin_account_id = NEW.id
               AND state IN ('active', 'matured', 'defaulted', 'liquidating'))
       AND NOT EXISTS (
        SELECT FROM public.lending_amendment a
          JOIN public.lending_loan l ON l.id = a.loan_id JOIN public.lending_termsheet s ON s.id = a.sheet_id
         WHERE l.margin_account_id = NEW.id AND a.state = 'agreed'
           AND NOT EXISTS (SELECT FROM jsonb_each_text(s.content::jsonb -> 'ladder') AS w
                            WHERE w.value::numeric IS DISTINCT FROM (wanted ->> w.key)::numeric)
    ) THEN
        RAISE EXCEPTION 'the ladder of a loan that runs changes by an amendment that both sides agreed on'
            USING ERRCODE = 'LA008', CONSTRAINT = 'running_ladder_is_amended';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_marginaccount_is_amended BEFORE UPDATE OF terms_id ON lending_marginaccount FOR EACH ROW
    WHEN (OLD.terms_id IS DISTINCT FROM NEW.terms_id) EXECUTE FUNCTION lending_check_ladder_is_amended();

INSERT INTO lending_loantransition (from_state, to_state) VALUES ('matured', 'active');
"""
# Equal to lending.models.OBLIGATION_TRANSITIONS, CORRECTED_TRANSITIONS and AMENDED_TRANSITIONS: what a loan's new
# schedule asks for stands instead of what was expected, announced, or due all at once.
OBLIGATIONS = """
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
        ('defaulted', 'late')
    ) AND NOT ((OLD.state, NEW.state) IN (
        ('met', 'expected'), ('met', 'noticed'), ('met', 'due'), ('met', 'late'), ('met', 'cancelled'),
        ('cancelled', 'expected'), ('cancelled', 'noticed'), ('cancelled', 'due'), ('cancelled', 'late'),
        ('cancelled', 'met'), ('defaulted', 'met')
    ) AND EXISTS (SELECT FROM lending_correction WHERE loan_id = NEW.loan_id
                  AND (kind = 'reversal' OR OLD.state <> 'met')))
    AND NOT (NEW.state = 'replaced' AND OLD.state IN ('expected', 'noticed', 'due', 'late') AND EXISTS (
        SELECT FROM lending_amendment WHERE loan_id = NEW.loan_id AND state IN ('agreed', 'in_force'))) THEN
        RAISE EXCEPTION 'an obligation can not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'LN002', CONSTRAINT = 'obligation_transition_declared';
    END IF;
    RETURN NEW;
END $$;
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_amendment, lending_ratestep TO app;
        GRANT UPDATE (state, checker_id, checked_at, signer_id, agreed_at, in_force_at, ended_by_id, ended_at,
                      end_reason) ON lending_amendment TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0029_eligibility"),
    ]

    operations = [
        migrations.CreateModel(
            name="Amendment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "waits for a second person"),
                            ("approved", "waits for the client"),
                            ("agreed", "agreed, not yet in force"),
                            ("in_force", "in force"),
                            ("rejected", "rejected by the desk"),
                            ("declined", "declined by the client"),
                            ("withdrawn", "withdrawn"),
                            ("expired", "expired"),
                        ],
                        default="proposed",
                        max_length=10,
                    ),
                ),
                (
                    "from_at",
                    models.DateTimeField(
                        help_text="from when other rates count; empty: from the signature on", null=True
                    ),
                ),
                ("expires_at", models.DateTimeField(help_text="until when it can be signed")),
                ("reason", models.CharField(max_length=400)),
                ("proposed_at", models.DateTimeField()),
                ("checked_at", models.DateTimeField(null=True)),
                ("agreed_at", models.DateTimeField(null=True)),
                ("in_force_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(help_text="when it ended without being agreed", null=True)),
                ("end_reason", models.CharField(blank=True, max_length=400)),
            ],
        ),
        migrations.CreateModel(
            name="RateStep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("annual_rate", lending.models.fields.RatioField(decimal_places=12, max_digits=20)),
                ("default_rate", lending.models.fields.RatioField(decimal_places=12, max_digits=20)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="obligation",
            name="obligation_over_needs_no_act",
        ),
        migrations.AlterField(
            model_name="obligation",
            name="state",
            field=models.CharField(
                choices=[
                    ("expected", "expected"),
                    ("noticed", "announced"),
                    ("due", "due"),
                    ("late", "late"),
                    ("defaulted", "defaulted"),
                    ("met", "paid"),
                    ("cancelled", "cancelled"),
                    ("replaced", "replaced"),
                ],
                default="expected",
                max_length=12,
            ),
        ),
        migrations.AddConstraint(
            model_name="obligation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("act_at__isnull", True), ("state__in", ["defaulted", "met", "cancelled", "replaced"])),
                    models.Q(("act_at__isnull", False), ("state__in", ["expected", "noticed", "due", "late"])),
                    _connector="OR",
                ),
                name="obligation_over_needs_no_act",
            ),
        ),
        migrations.AddField(
            model_name="amendment",
            name="checker",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="amendment",
            name="client",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="amendments", to="lending.client"
            ),
        ),
        migrations.AddField(
            model_name="amendment",
            name="ended_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="amendment",
            name="instead_of",
            field=models.ForeignKey(
                help_text="what held when it was proposed",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="lending.termsheet",
            ),
        ),
        migrations.AddField(
            model_name="amendment",
            name="loan",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="amendments", to="lending.loan"
            ),
        ),
        migrations.AddField(
            model_name="amendment",
            name="maker",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="amendment",
            name="sheet",
            field=models.OneToOneField(
                help_text="what would hold",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="amendment",
                to="lending.termsheet",
            ),
        ),
        migrations.AddField(
            model_name="amendment",
            name="signer",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="ratestep",
            name="amendment",
            field=models.OneToOneField(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="rate_step", to="lending.amendment"
            ),
        ),
        migrations.AddField(
            model_name="ratestep",
            name="client",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client"),
        ),
        migrations.AddField(
            model_name="ratestep",
            name="loan",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="rate_steps", to="lending.loan"
            ),
        ),
        migrations.AddIndex(
            model_name="amendment",
            index=models.Index(
                condition=models.Q(("state__in", ["proposed", "approved", "agreed"])),
                fields=["client"],
                name="amendment_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(("maker", models.F("checker")), _negated=True), name="amendment_maker_is_not_checker"
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["approved", "agreed", "in_force", "rejected"]), _negated=True),
                    models.Q(("checked_at__isnull", False), ("checker__isnull", False)),
                    _connector="OR",
                ),
                name="amendment_approved_by_a_checker",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["agreed", "in_force"]), _negated=True),
                    models.Q(("agreed_at__isnull", False), ("signer__isnull", False)),
                    _connector="OR",
                ),
                name="amendment_agreed_by_a_signer",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("agreed_at__isnull", True), ("agreed_at__lt", models.F("expires_at")), _connector="OR"
                ),
                name="amendment_signed_in_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("from_at__isnull", True), ("from_at__gte", models.F("expires_at")), _connector="OR"
                ),
                name="amendment_never_counts_back",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ["proposed", "approved", "agreed"])),
                fields=("loan",),
                name="one_open_amendment",
            ),
        ),
        migrations.AddConstraint(
            model_name="ratestep",
            constraint=models.UniqueConstraint(fields=("loan", "at"), name="rate_step_once"),
        ),
        *(
            migrations.RunSQL(sql, migrations.RunSQL.noop)
            for sql in (AMENDMENTS, RATES, SHEETS, TERMS, LOANS, OBLIGATIONS, GRANTS)
        ),
    ]
