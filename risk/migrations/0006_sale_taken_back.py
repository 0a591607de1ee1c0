from django.db import migrations, models

STEPS = """
CREATE OR REPLACE FUNCTION risk_check_call_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT (OLD.state, NEW.state) IN (
        ('issued', 'notified'), ('issued', 'acknowledged'), ('issued', 'partially_cured'), ('issued', 'cured'),
        ('issued', 'cured_by_market'), ('issued', 'liquidating'), ('issued', 'waived'), ('issued', 'withdrawn'),
        ('notified', 'acknowledged'), ('notified', 'partially_cured'), ('notified', 'cured'),
        ('notified', 'cured_by_market'), ('notified', 'expired'), ('notified', 'liquidating'),
        ('notified', 'waived'), ('notified', 'withdrawn'), ('acknowledged', 'partially_cured'),
        ('acknowledged', 'cured'), ('acknowledged', 'cured_by_market'), ('acknowledged', 'expired'),
        ('acknowledged', 'liquidating'), ('acknowledged', 'waived'), ('acknowledged', 'withdrawn'),
        ('partially_cured', 'cured'), ('partially_cured', 'cured_by_market'), ('partially_cured', 'expired'),
        ('partially_cured', 'liquidating'), ('partially_cured', 'waived'), ('partially_cured', 'withdrawn'),
        ('expired', 'liquidating'), ('expired', 'liquidated'), ('expired', 'cured'), ('expired', 'cured_by_market'),
        ('expired', 'waived'), ('liquidating', 'liquidated'), ('liquidating', 'cured'),
        ('liquidating', 'cured_by_market'), ('cured_by_market', 'issued')[more]
    ) THEN
        RAISE EXCEPTION 'a margin call can not go from % to %', OLD.state, NEW.state USING ERRCODE = 'RK003';
    END IF;
    IF NEW.margin_account_id <> OLD.margin_account_id OR NEW.episode <> OLD.episode THEN
        RAISE EXCEPTION 'a margin call keeps its account and episode' USING ERRCODE = 'RK003';
    END IF;
    RETURN NEW;
END $$;
"""
# A sale that was taken back before anything was sold lets its call go on.
TAKEN_BACK = """,
        ('liquidating', 'issued'), ('liquidating', 'notified'), ('liquidating', 'acknowledged'),
        ('liquidating', 'partially_cured')"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0005_sale_held")]

    operations = [
        migrations.RemoveConstraint(model_name="salecause", name="cause_once_per_episode"),
        migrations.AddConstraint(
            model_name="salecause",
            constraint=models.UniqueConstraint(
                condition=models.Q(("outcome", "level_left"), _negated=True),
                fields=("margin_account", "episode"),
                name="cause_once_per_episode",
            ),
        ),
        migrations.RunSQL(STEPS.replace("[more]", TAKEN_BACK), STEPS.replace("[more]", "")),
    ]
