import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# A sheet is final once it is there, its hash is that of its text, and versions follow each other without a gap.
# PostgreSQL's sha256() makes the hash a fact of the row, whoever wrote it.
SHEETS = """
ALTER TABLE lending_termsheet ADD CONSTRAINT term_sheet_hash_is_of_its_text
    CHECK (content_hash = sha256(convert_to(content, 'UTF8')));
CREATE FUNCTION lending_check_term_sheet() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    last integer := (SELECT max(version) FROM public.lending_termsheet WHERE loan_id = NEW.loan_id);
BEGIN
    IF NEW.version <> coalesce(last, 0) + 1 THEN
        RAISE EXCEPTION 'version % of a term sheet does not follow %', NEW.version, coalesce(last, 0)
            USING ERRCODE = 'LT001', CONSTRAINT = 'term_sheet_versions_follow';
    END IF;
    IF NEW.client_id <> (SELECT client_id FROM public.lending_loan WHERE id = NEW.loan_id) THEN
        RAISE EXCEPTION 'a term sheet names another client than its loan'
            USING ERRCODE = 'LT002', CONSTRAINT = 'term_sheet_of_client_of_loan';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_termsheet_checked BEFORE INSERT ON lending_termsheet
    FOR EACH ROW EXECUTE FUNCTION lending_check_term_sheet();

CREATE FUNCTION lending_check_acceptance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    sheet record;
BEGIN
    SELECT s.client_id, s.content_hash, s.version,
           (SELECT max(n.version) FROM public.lending_termsheet n WHERE n.loan_id = s.loan_id) AS newest
        INTO sheet FROM public.lending_termsheet s WHERE s.id = NEW.sheet_id;
    IF NEW.content_hash IS DISTINCT FROM sheet.content_hash OR NEW.client_id IS DISTINCT FROM sheet.client_id
       OR sheet.version <> sheet.newest THEN
        RAISE EXCEPTION 'an acceptance binds to the hash and the client of the newest term sheet of a loan'
            USING ERRCODE = 'LT003', CONSTRAINT = 'acceptance_of_newest_hash';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_termsheetacceptance_checked BEFORE INSERT ON lending_termsheetacceptance
    FOR EACH ROW EXECUTE FUNCTION lending_check_acceptance();
"""

# What a loan runs by is what its newest sheet says, and it is not accepted before a signer is bound to that sheet.
LOANS = """
CREATE FUNCTION lending_check_terms_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed jsonb := (
        SELECT s.content::jsonb -> 'loan' FROM public.lending_termsheet s
        WHERE s.loan_id = NEW.id ORDER BY s.version DESC LIMIT 1
    );
BEGIN
    IF agreed IS NOT NULL AND (
        (agreed ->> 'principal')::numeric <> NEW.principal
        OR (agreed ->> 'annual_rate')::numeric <> NEW.annual_rate
        OR (agreed ->> 'default_rate')::numeric <> NEW.default_rate
        OR (agreed ->> 'origination_fee')::numeric <> NEW.origination_fee
        OR agreed ->> 'day_count' <> NEW.day_count
        OR (agreed ->> 'maturity_date')::date <> NEW.maturity_date
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
CREATE TRIGGER lending_loan_terms BEFORE UPDATE ON lending_loan FOR EACH ROW
    WHEN ((OLD.principal, OLD.annual_rate, OLD.default_rate, OLD.origination_fee, OLD.day_count, OLD.maturity_date,
           OLD.schedule_kind, OLD.frequency_months, OLD.calendar, OLD.payout_address, OLD.asset_id)
          IS DISTINCT FROM
          (NEW.principal, NEW.annual_rate, NEW.default_rate, NEW.origination_fee, NEW.day_count, NEW.maturity_date,
           NEW.schedule_kind, NEW.frequency_months, NEW.calendar, NEW.payout_address, NEW.asset_id))
    EXECUTE FUNCTION lending_check_terms_of_loan();

CREATE FUNCTION lending_check_acceptance_of_loan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.lending_termsheet s JOIN public.lending_termsheetacceptance a ON a.sheet_id = s.id
        WHERE s.loan_id = NEW.id AND a.signer_id = NEW.accepted_by_id
          AND s.version = (SELECT max(n.version) FROM public.lending_termsheet n WHERE n.loan_id = NEW.id)
    ) THEN
        RAISE EXCEPTION 'a loan is accepted by whoever accepted its newest term sheet'
            USING ERRCODE = 'LT005', CONSTRAINT = 'loan_accepted_by_its_term_sheet';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_accepted BEFORE UPDATE ON lending_loan FOR EACH ROW
    WHEN (OLD.state = 'quoted' AND NEW.state = 'accepted')
    EXECUTE FUNCTION lending_check_acceptance_of_loan();
"""

FINAL = """
CREATE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""

GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_termsheet, lending_termsheetacceptance TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("lending", "0013_bank_statements")]

    operations = [
        migrations.CreateModel(
            name="TermSheet",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("version", models.PositiveIntegerField()),
                ("content", models.TextField(help_text="canonical text, see lending.engine.terms")),
                ("content_hash", models.BinaryField(help_text="SHA-256 of the content", max_length=32)),
                ("offered_at", models.DateTimeField()),
                ("client", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client")),
                (
                    "loan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="term_sheets", to="lending.loan"
                    ),
                ),
                (
                    "made_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("loan", "version"), name="term_sheet_version_once"),
                ]
            },
        ),
        migrations.CreateModel(
            name="TermSheetAcceptance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("content_hash", models.BinaryField(max_length=32)),
                ("accepted_at", models.DateTimeField()),
                ("client", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.client")),
                (
                    "sheet",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="acceptance",
                        to="lending.termsheet",
                    ),
                ),
                (
                    "signer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        *(migrations.RunSQL(sql) for sql in (SHEETS, LOANS)),
        *(
            migrations.RunSQL(FINAL.replace("{table}", table))
            for table in ("lending_termsheet", "lending_termsheetacceptance")
        ),
        migrations.RunSQL(GRANTS),
    ]
