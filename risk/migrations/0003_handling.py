"""Who handles a call since when, and what people did about incidents: evidence, so it only ever grows."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

GUARDS = """
CREATE TRIGGER risk_incidentevent_is_final BEFORE UPDATE OR DELETE ON risk_incidentevent
    FOR EACH ROW EXECUTE FUNCTION risk_refuse_change();
CREATE TRIGGER risk_incidentevent_stays BEFORE TRUNCATE ON risk_incidentevent
    FOR EACH STATEMENT EXECUTE FUNCTION risk_refuse_change();
"""

UNGUARD = """
DROP TRIGGER risk_incidentevent_stays ON risk_incidentevent;
DROP TRIGGER risk_incidentevent_is_final ON risk_incidentevent;
"""

GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON risk_incidentevent TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0004_repayment_arrived_at"),
        ("risk", "0002_guards"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="margincall",
            name="claimed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="incident",
            name="resolved_by",
            field=models.ForeignKey(
                help_text="null if it closed by itself",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(condition=models.Q(("closed_at", None)), fields=["-opened_at"], name="incident_open"),
        ),
        migrations.CreateModel(
            name="IncidentEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=30)),
                ("note", models.CharField(blank=True, max_length=1000)),
                ("happened_at", models.DateTimeField()),
                (
                    "actor",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL),
                ),
                (
                    "client",
                    models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to="lending.client"),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="risk.incident"
                    ),
                ),
            ],
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
