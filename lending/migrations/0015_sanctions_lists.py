import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import lending.ids
import lending.models.fields

# What came in and what was read of it stays. An entry is closed once, by a later version; an upload ends once.
GUARDS = """
CREATE FUNCTION lending_keep_sanctions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    free text[] := CASE TG_TABLE_NAME WHEN 'lending_sanctionsentry' THEN ARRAY['closed_by_id']
                   ELSE ARRAY['state', 'ended_at', 'refusal', 'problems'] END;
BEGIN
    IF (CASE TG_TABLE_NAME WHEN 'lending_sanctionsentry' THEN to_jsonb(OLD) ->> 'closed_by_id' IS NOT NULL
        ELSE to_jsonb(OLD) ->> 'state' <> 'waiting' END)
       OR (to_jsonb(NEW) - free) <> (to_jsonb(OLD) - free) THEN
        RAISE EXCEPTION 'what a sanctions list said, and what became of an upload, stays as it is'
            USING ERRCODE = 'LE030', CONSTRAINT = 'sanctions_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_sanctionsentry_is_closed_once BEFORE UPDATE ON lending_sanctionsentry
    FOR EACH ROW EXECUTE FUNCTION lending_keep_sanctions();
CREATE TRIGGER lending_sanctionsupload_ends_once BEFORE UPDATE ON lending_sanctionsupload
    FOR EACH ROW EXECUTE FUNCTION lending_keep_sanctions();
"""
UNGUARD = """
DROP TRIGGER lending_sanctionsentry_is_closed_once ON lending_sanctionsentry;
DROP TRIGGER lending_sanctionsupload_ends_once ON lending_sanctionsupload;
DROP FUNCTION lending_keep_sanctions();
"""
FINAL = """
CREATE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
NOT_FINAL = """
DROP TRIGGER {table}_is_final ON {table};
DROP TRIGGER {table}_stays ON {table};
"""
KEPT = """
CREATE TRIGGER {table}_is_kept BEFORE DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""
NOT_KEPT = """
DROP TRIGGER {table}_is_kept ON {table};
DROP TRIGGER {table}_stays ON {table};
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT ON lending_sanctionslist, lending_sanctionsfile, lending_sanctionsversion,
            lending_sanctionsname, lending_sanctionsentry, lending_sanctionsupload TO app;
        GRANT UPDATE ON lending_sanctionslist TO app;  -- SELECT FOR UPDATE asks for it; its trigger lets nothing change
        GRANT UPDATE (closed_by_id) ON lending_sanctionsentry TO app;
        GRANT UPDATE (state, ended_at, refusal, problems) ON lending_sanctionsupload TO app;
    END IF;
END $$;
"""
FINAL_TABLES = (
    "lending_sanctionslist",
    "lending_sanctionsfile",
    "lending_sanctionsversion",
    "lending_sanctionsname",
)
KEPT_TABLES = ("lending_sanctionsentry", "lending_sanctionsupload")
LISTS = (
    ("ofac-sdn", "OFAC: Specially Designated Nationals", "ofac"),
    ("eu-fsf", "EU: consolidated financial sanctions", "eu"),
)


def name_lists(apps, schema_editor):
    lists = apps.get_model("lending", "SanctionsList")
    lists.objects.bulk_create(lists(code=code, name=name, publisher=publisher) for code, name, publisher in LISTS)


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0014_term_sheets"),
    ]

    operations = [
        migrations.CreateModel(
            name="SanctionsList",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.SlugField(unique=True)),
                ("name", models.CharField(max_length=120)),
                (
                    "publisher",
                    models.CharField(
                        choices=[("ofac", "OFAC"), ("eu", "EU")], help_text="in whose forms it comes", max_length=8
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SanctionsEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("ref", models.CharField(help_text="the publisher's own number", max_length=18)),
                ("kind", models.CharField(max_length=12)),
                ("name", models.CharField(max_length=700)),
                ("births", models.JSONField(default=list, help_text="[as written, first day, last day]")),
                ("countries", models.JSONField(default=list, help_text="ISO codes, or names as written")),
                ("programs", models.JSONField(default=list)),
                ("remarks", models.TextField(blank=True)),
                ("digest", models.CharField(help_text="of all that it says", max_length=64)),
                ("identity", models.CharField(help_text="of what says who is meant", max_length=64)),
                (
                    "watchlist",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="entries", to="lending.sanctionslist"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "sanctions entries",
            },
        ),
        migrations.CreateModel(
            name="SanctionsName",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=700)),
                ("kind", models.CharField(help_text="primary, aka, fka or nka", max_length=8)),
                ("weak", models.BooleanField(default=False, help_text="so common that its publisher warns of it")),
                (
                    "entry",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="aliases", to="lending.sanctionsentry"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SanctionsUpload",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    lending.models.fields.PublicIdField(default=lending.ids.new, editable=False, unique=True),
                ),
                ("form", models.CharField(max_length=12)),
                (
                    "published_on",
                    models.DateField(
                        help_text="as said by whoever sent it in, where the files do not say it", null=True
                    ),
                ),
                (
                    "confirmed",
                    models.BooleanField(
                        default=False, help_text="it may be older, or much shorter, than what it follows"
                    ),
                ),
                ("sha256", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("taken", "Taken"), ("refused", "Refused")],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("uploaded_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("refusal", models.CharField(blank=True, max_length=400)),
                (
                    "problems",
                    models.JSONField(default=list, help_text="lines that could not be taken; some of very many"),
                ),
                (
                    "uploaded_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "watchlist",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="uploads", to="lending.sanctionslist"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SanctionsFile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=120)),
                ("size", models.PositiveBigIntegerField(help_text="bytes, before compression")),
                ("content", models.BinaryField()),
                (
                    "upload",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="files", to="lending.sanctionsupload"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SanctionsVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("published_on", models.DateField()),
                ("sha256", models.CharField(max_length=64)),
                ("imported_at", models.DateTimeField()),
                ("entries", models.PositiveIntegerField()),
                ("names", models.PositiveIntegerField()),
                ("added", models.PositiveIntegerField()),
                ("removed", models.PositiveIntegerField()),
                ("changed", models.PositiveIntegerField()),
                (
                    "imported_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "upload",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="version",
                        to="lending.sanctionsupload",
                    ),
                ),
                (
                    "watchlist",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="versions", to="lending.sanctionslist"
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="sanctionsentry",
            name="closed_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="closed",
                to="lending.sanctionsversion",
            ),
        ),
        migrations.AddField(
            model_name="sanctionsentry",
            name="opened_by",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="opened", to="lending.sanctionsversion"
            ),
        ),
        migrations.AddIndex(
            model_name="sanctionsupload",
            index=models.Index(condition=models.Q(("state", "waiting")), fields=["uploaded_at"], name="upload_waiting"),
        ),
        migrations.AddConstraint(
            model_name="sanctionsversion",
            constraint=models.UniqueConstraint(fields=("watchlist", "number"), name="sanctions_version_once"),
        ),
        migrations.AddConstraint(
            model_name="sanctionsentry",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_by__isnull", True)),
                fields=("watchlist", "ref"),
                name="sanctions_entry_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="sanctionsentry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("closed_by__isnull", True), ("closed_by__gt", models.F("opened_by")), _connector="OR"
                ),
                name="sanctions_entry_closed_later",
            ),
        ),
        migrations.RunPython(name_lists, migrations.RunPython.noop),
        migrations.RunSQL(GUARDS, UNGUARD),
        *(
            migrations.RunSQL(FINAL.replace("{table}", table), NOT_FINAL.replace("{table}", table))
            for table in FINAL_TABLES
        ),
        *(
            migrations.RunSQL(KEPT.replace("{table}", table), NOT_KEPT.replace("{table}", table))
            for table in KEPT_TABLES
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
