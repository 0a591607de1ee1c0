import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Whoever approves a case has neither rated it nor brought in what it rests on; who lends has neither made nor approved.
GUARDS = """
CREATE FUNCTION lending_check_case_maker() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.checker_id = NEW.rated_by_id
       OR EXISTS (SELECT FROM public.lending_casefact WHERE case_id = NEW.id AND recorded_by_id = NEW.checker_id)
       OR EXISTS (SELECT FROM public.lending_relatedparty WHERE case_id = NEW.id AND recorded_by_id = NEW.checker_id)
       OR EXISTS (SELECT FROM public.lending_signingrule WHERE case_id = NEW.id AND recorded_by_id = NEW.checker_id) THEN
        RAISE EXCEPTION 'who has made a part of what a case rests on does not approve it'
            USING ERRCODE = 'LK010', CONSTRAINT = 'case_checker_made_no_part';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_kyccase_parts BEFORE UPDATE OF state ON lending_kyccase
    FOR EACH ROW WHEN (NEW.state = 'approved') EXECUTE FUNCTION lending_check_case_maker();

CREATE FUNCTION lending_check_funder() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.funded_by_id IS NOT NULL AND NEW.funded_by_id IS DISTINCT FROM OLD.funded_by_id
       OR OLD.state = 'collateral_pending' AND NEW.state = 'active' AND NEW.funded_by_id IS NULL THEN
        RAISE EXCEPTION 'a loan is funded by somebody, who stays known' USING ERRCODE = 'LN005';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_funder BEFORE UPDATE OF state, funded_by_id ON lending_loan
    FOR EACH ROW EXECUTE FUNCTION lending_check_funder();

CREATE FUNCTION lending_check_draw_payer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.decided_by_id = (SELECT made_by_id FROM public.lending_loan WHERE id = NEW.loan_id) THEN
        RAISE EXCEPTION 'who has made a line pays out no draw of it'
            USING ERRCODE = 'LN006', CONSTRAINT = 'draw_paid_out_by_no_maker';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_draw_payer BEFORE INSERT OR UPDATE OF state ON lending_draw
    FOR EACH ROW WHEN (NEW.state = 'paid_out') EXECUTE FUNCTION lending_check_draw_payer();
"""
UNGUARD = """
DROP TRIGGER lending_draw_payer ON lending_draw;
DROP FUNCTION lending_check_draw_payer();
DROP TRIGGER lending_loan_funder ON lending_loan;
DROP FUNCTION lending_check_funder();
DROP TRIGGER lending_kyccase_parts ON lending_kyccase;
DROP FUNCTION lending_check_case_maker();
"""


def _somebody(*, editable: bool = False) -> models.ForeignKey:
    return models.ForeignKey(
        editable=editable,
        null=True,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to=settings.AUTH_USER_MODEL,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0043_held_deposits"),
    ]

    operations = [
        migrations.AddField(model_name="loan", name="funded_by", field=_somebody(editable=True)),
        migrations.AddField(model_name="kyccase", name="rated_by", field=_somebody()),
        migrations.AddField(model_name="relatedparty", name="recorded_by", field=_somebody()),
        migrations.AddField(model_name="signingrule", name="recorded_by", field=_somebody()),
        migrations.AddConstraint(
            model_name="loan",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("funded_by__isnull", True),
                    models.Q(
                        models.Q(("funded_by", models.F("made_by")), _negated=True),
                        models.Q(("funded_by", models.F("approved_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="loan_funded_by_a_third",
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
    ]
