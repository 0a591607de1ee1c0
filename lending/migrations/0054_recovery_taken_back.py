from django.db import migrations

# Equal to lending.models.LOAN_TRANSITIONS: what made good a loss, and is taken back, leaves it unpaid again.
STEPS = """
INSERT INTO lending_loantransition (from_state, to_state)
VALUES ('recovered', 'workout'), ('recovered', 'written_off');
"""
NO_STEPS = """
DELETE FROM lending_loantransition WHERE from_state = 'recovered' AND to_state IN ('workout', 'written_off');
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0053_ladder_presets"),
    ]

    operations = [
        migrations.RunSQL(STEPS, NO_STEPS),
    ]
