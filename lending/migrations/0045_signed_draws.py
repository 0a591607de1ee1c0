import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Who asked for a draw until now signed for it too, whether for the client or as its manager.
AS_IT_WAS = """
DROP TRIGGER lending_draw_is_decided_once ON lending_draw;
UPDATE lending_draw SET signed_by_id = asked_by_id, signed_at = asked_at;
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
"""
# What is proposed is signed or dropped, what is signed is paid out or dropped, and nothing of it changes.
GUARD = """
CREATE TRIGGER lending_draw_is_decided_once BEFORE UPDATE ON lending_draw
    FOR EACH ROW WHEN (OLD.state NOT IN ('proposed', 'requested')
                       OR OLD.state = 'proposed' AND NEW.state NOT IN ('proposed', 'requested', 'cancelled')
                       OR OLD.state = 'requested' AND (
                           NEW.state = 'proposed'
                           OR (OLD.signed_by_id, OLD.signed_at) IS DISTINCT FROM (NEW.signed_by_id, NEW.signed_at)
                       )
                       OR (OLD.loan_id, OLD.client_id, OLD.amount, OLD.asked_by_id, OLD.asked_at, OLD.public_id)
                          IS DISTINCT FROM
                          (NEW.loan_id, NEW.client_id, NEW.amount, NEW.asked_by_id, NEW.asked_at, NEW.public_id))
    EXECUTE FUNCTION lending_refuse_change();
"""
# As it was before, for a database that goes back.
AS_BEFORE = """
CREATE TRIGGER lending_draw_is_decided_once BEFORE UPDATE ON lending_draw
    FOR EACH ROW WHEN (OLD.state <> 'requested'
                       OR (OLD.loan_id, OLD.client_id, OLD.amount, OLD.asked_by_id, OLD.asked_at, OLD.public_id)
                          IS DISTINCT FROM
                          (NEW.loan_id, NEW.client_id, NEW.amount, NEW.asked_by_id, NEW.asked_at, NEW.public_id))
    EXECUTE FUNCTION lending_refuse_change();
"""
UNGUARD = "DROP TRIGGER lending_draw_is_decided_once ON lending_draw;"


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0044_makers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="draw", name="draw_one_at_a_time"),
        migrations.AddField(
            model_name="draw",
            name="signed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="draw",
            name="signed_by",
            field=models.ForeignKey(
                help_text="the client's signer, the second of two",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="draw",
            name="state",
            field=models.CharField(
                choices=[
                    ("proposed", "waits for the client's signature"),
                    ("requested", "asked for"),
                    ("paid_out", "paid out"),
                    ("cancelled", "cancelled"),
                ],
                default="requested",
                max_length=12,
            ),
        ),
        migrations.RunSQL(AS_IT_WAS, AS_BEFORE),
        migrations.AddConstraint(
            model_name="draw",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ["proposed", "requested"])),
                fields=("loan",),
                name="draw_one_at_a_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="draw",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ["proposed", "cancelled"]),
                    models.Q(
                        ("signed_at__isnull", False),
                        ("signed_by__isnull", False),
                        models.Q(
                            ("decided_by__isnull", True),
                            models.Q(("decided_by", models.F("signed_by")), _negated=True),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="draw_signed_before_it_is_paid_out",
            ),
        ),
        migrations.RunSQL(GUARD, UNGUARD),
    ]
