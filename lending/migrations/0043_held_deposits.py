from django.db import migrations, models

# A transfer from a sender that the custodian objects to is nobody's until two persons have agreed to let it in.
GUARDS = """
CREATE FUNCTION lending_check_sender() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.state IN ('credited', 'unmatched') AND OLD.state NOT IN ('credited', 'unmatched') AND NOT EXISTS (
        SELECT FROM public.lending_approval
         WHERE kind = 'let_in_deposit' AND state = 'executed' AND payload ->> 'deposit' = NEW.public_id::text) THEN
        RAISE EXCEPTION 'what the custodian objects to the sender of is let in by two persons'
            USING ERRCODE = 'LC002', CONSTRAINT = 'deposit_let_in_by_two';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_deposit_sender BEFORE UPDATE OF state ON lending_deposit
    FOR EACH ROW WHEN (NOT NEW.screened) EXECUTE FUNCTION lending_check_sender();
"""
UNGUARD = """
DROP TRIGGER lending_deposit_sender ON lending_deposit;
DROP FUNCTION lending_check_sender();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0042_steps_that_fail"),
    ]

    operations = [
        migrations.AlterField(
            model_name="deposit",
            name="state",
            field=models.CharField(
                choices=[
                    ("pending", "Pending"),
                    ("confirmed", "Confirmed"),
                    ("credited", "Credited"),
                    ("reorged", "Reorged"),
                    ("unmatched", "Unmatched"),
                    ("held", "Held"),
                ],
                default="pending",
                max_length=12,
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
    ]
