import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# A line begins by two persons and is ended by two, once, as a rule of eligibility is. What stood before has no makers.
GUARDS = """
DROP TRIGGER lending_checklistitem_is_ended_once ON lending_checklistitem;
CREATE TRIGGER lending_checklistitem_is_ended_once BEFORE UPDATE ON lending_checklistitem
    FOR EACH ROW EXECUTE FUNCTION lending_end_eligibility();

CREATE FUNCTION lending_begin_checklist_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'two persons begin what a checklist asks for'
        USING ERRCODE = 'LK011', CONSTRAINT = 'checklist_item_begun_by_two';
END $$;
CREATE TRIGGER lending_checklistitem_is_begun_by_two BEFORE INSERT ON lending_checklistitem
    FOR EACH ROW WHEN (NEW.maker_id IS NULL OR NEW.checker_id IS NULL)
    EXECUTE FUNCTION lending_begin_checklist_item();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT UPDATE (end_maker_id, end_checker_id) ON lending_checklistitem TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0050_taken_over_kinds"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="checklistitem",
            name="checklist_item_once",
        ),
        migrations.RemoveConstraint(
            model_name="checklistitem",
            name="checklist_item_ends_after_it_starts",
        ),
        migrations.AddField(
            model_name="checklistitem",
            name="checker",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="checklistitem",
            name="end_checker",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="checklistitem",
            name="end_maker",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="checklistitem",
            name="maker",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="checklistitem",
            name="rating",
            field=models.CharField(
                blank=True,
                choices=[("low", "Low"), ("medium", "Medium"), ("high", "High")],
                help_text="empty: any",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="checklistitem",
            name="end_date",
            field=models.DateField(blank=True, help_text="first day on which it no longer holds", null=True),
        ),
        migrations.AddConstraint(
            model_name="checklistitem",
            constraint=models.UniqueConstraint(
                fields=("client_kind", "jurisdiction", "rating", "about", "code", "start_date"),
                name="checklist_item_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="checklistitem",
            constraint=models.UniqueConstraint(
                condition=models.Q(("end_date", None)),
                fields=("client_kind", "jurisdiction", "rating", "about", "code"),
                name="checklist_item_without_end_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="checklistitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("maker", models.F("checker")), _negated=True),
                name="checklist_item_maker_is_not_checker",
            ),
        ),
        migrations.AddConstraint(
            model_name="checklistitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("end_checker", None), ("end_date", None), ("end_maker", None)),
                    models.Q(
                        ("end_checker__isnull", False),
                        ("end_date__gt", models.F("start_date")),
                        ("end_maker__isnull", False),
                        models.Q(("end_maker", models.F("end_checker")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="checklist_item_is_ended_by_two",
            ),
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
