import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

GUARD = """
CREATE TRIGGER lending_rolegrant_is_ended_once BEFORE UPDATE ON lending_rolegrant
    FOR EACH ROW WHEN (OLD.revoked_at IS NOT NULL
                       OR (OLD.user_id, OLD.role, OLD.granted_by_id, OLD.granted_at)
                          IS DISTINCT FROM (NEW.user_id, NEW.role, NEW.granted_by_id, NEW.granted_at))
    EXECUTE FUNCTION lending_refuse_change();
"""
UNGUARD = "DROP TRIGGER lending_rolegrant_is_ended_once ON lending_rolegrant;"
# Who acts for a client is a row while they do; that they did stands on the audit trail.
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT DELETE ON lending_clientuser TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0045_signed_draws"),
    ]

    operations = [
        migrations.AddField(
            model_name="rolegrant",
            name="revoked_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddConstraint(
            model_name="relationshipperiod",
            constraint=models.UniqueConstraint(
                condition=models.Q(("end_at__isnull", True)), fields=("client",), name="one_manager_at_a_time"
            ),
        ),
        migrations.AddConstraint(
            model_name="relationshipperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(("end_at__isnull", True), ("end_at__gte", models.F("start_at")), _connector="OR"),
                name="managed_from_then_to_then",
            ),
        ),
        migrations.AddConstraint(
            model_name="rolegrant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("revoked_at__isnull", True), ("revoked_by__isnull", True)),
                    models.Q(("revoked_at__isnull", False), ("revoked_by__isnull", False)),
                    _connector="OR",
                ),
                name="role_ended_by_somebody",
            ),
        ),
        migrations.RunSQL(GUARD, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
