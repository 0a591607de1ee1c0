import django.db.models.deletion
from django.db import migrations, models

# What a break is about never changes, and how its asset is called is part of that.
KEPT = """
CREATE OR REPLACE FUNCTION lending_keep_break() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL THEN
        RAISE EXCEPTION 'a closed break stays as it is' USING ERRCODE = 'LE021';
    END IF;
    IF (NEW.custodian, NEW.asset_id, NEW.code, NEW.kind, NEW.ref, NEW.found_at)
       IS DISTINCT FROM (OLD.custodian, OLD.asset_id, OLD.code, OLD.kind, OLD.ref, OLD.found_at) THEN
        RAISE EXCEPTION 'what a break is about, and when it was first seen, never changes' USING ERRCODE = 'LE021';
    END IF;
    IF NEW.closed_at IS NOT NULL AND NEW.closed_how = '' THEN
        RAISE EXCEPTION 'a break is closed with how' USING ERRCODE = 'LE021';
    END IF;
    RETURN NEW;
END $$;
"""
# Closed breaks get their code too; the guard would refuse that.
CODES = """
ALTER TABLE lending_custodybreak DISABLE TRIGGER lending_break_is_evidence;
UPDATE lending_custodybreak SET code = lending_asset.code FROM lending_asset WHERE lending_asset.id = asset_id;
ALTER TABLE lending_custodybreak ENABLE TRIGGER lending_break_is_evidence;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0040_recovered"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="custodybreak", name="one_open_break"),
        migrations.AddField(
            model_name="custodybreak",
            name="code",
            field=models.CharField(
                default="", help_text="as the custodian names it", max_length=40, verbose_name="asset"
            ),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="custodybreak",
            name="asset",
            field=models.ForeignKey(
                help_text="null for one that the desk does not know",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                to="lending.asset",
            ),
        ),
        *(migrations.RunSQL(sql, migrations.RunSQL.noop) for sql in (CODES, KEPT)),
        migrations.AddConstraint(
            model_name="custodybreak",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at", None)),
                fields=("custodian", "code", "kind", "ref"),
                name="one_open_break",
            ),
        ),
        migrations.AddConstraint(
            model_name="custodybreak",
            constraint=models.CheckConstraint(
                condition=models.Q(("code", ""), _negated=True), name="break_of_something"
            ),
        ),
    ]
