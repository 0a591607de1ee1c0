from django.db import migrations, models

# What was kept apart leaves the books by two persons, for good.
GUARDS = """
CREATE FUNCTION lending_check_booked_out() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.state <> 'held' OR NOT EXISTS (
        SELECT FROM public.lending_approval
         WHERE kind = 'book_out_deposit' AND state = 'executed' AND payload ->> 'deposit' = NEW.public_id::text) THEN
        RAISE EXCEPTION 'what is kept apart is booked out by two persons, for good'
            USING ERRCODE = 'LC002', CONSTRAINT = 'deposit_booked_out_by_two';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_deposit_booked_out BEFORE UPDATE OF state ON lending_deposit
    FOR EACH ROW WHEN ((OLD.state = 'booked_out') <> (NEW.state = 'booked_out'))
    EXECUTE FUNCTION lending_check_booked_out();
"""
UNGUARD = """
DROP TRIGGER lending_deposit_booked_out ON lending_deposit;
DROP FUNCTION lending_check_booked_out();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0054_recovery_taken_back"),
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
                    ("booked_out", "Booked Out"),
                ],
                default="pending",
                max_length=12,
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
    ]
