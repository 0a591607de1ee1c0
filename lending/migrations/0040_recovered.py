from django.db import migrations

# Equal to lending.models.LOAN_TRANSITIONS: what was lost and is paid after all is recovered. It is not repaid, which a
# payment that is taken back would open again, as if there had been no loss.
STEPS = """
INSERT INTO lending_loantransition (from_state, to_state) VALUES ('workout', 'recovered');
DELETE FROM lending_loantransition WHERE from_state = 'workout' AND to_state = 'repaid';
"""
NO_STEPS = """
INSERT INTO lending_loantransition (from_state, to_state) VALUES ('workout', 'repaid');
DELETE FROM lending_loantransition WHERE from_state = 'workout' AND to_state = 'recovered';
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0039_spread_amended"),
    ]

    operations = [
        migrations.RunSQL(STEPS, NO_STEPS),
    ]
