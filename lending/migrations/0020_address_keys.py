import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Addresses of a key are given out one after the other: the database counts, so that no index is left out or used twice.
GUARDS = """
CREATE FUNCTION lending_next_address() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lending_addresskey SET next_index = next_index + 1
     WHERE id = NEW.address_key_id AND next_index = NEW.index AND retired_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the addresses of a key are given out one after the other, while it is in use'
            USING ERRCODE = 'LE022';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_depositaddress_next BEFORE INSERT ON lending_depositaddress
    FOR EACH ROW WHEN (NEW.address_key_id IS NOT NULL) EXECUTE FUNCTION lending_next_address();
CREATE FUNCTION lending_keep_address_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - ARRAY['next_index', 'retired_at', 'retired_by_id'])
       <> (to_jsonb(OLD) - ARRAY['next_index', 'retired_at', 'retired_by_id'])
       OR (OLD.retired_at IS NOT NULL AND NEW.retired_at IS DISTINCT FROM OLD.retired_at)
       OR NEW.next_index NOT IN (OLD.next_index, OLD.next_index + 1) THEN
        RAISE EXCEPTION 'a key is used as two persons set it, and retired once' USING ERRCODE = 'LE022';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_addresskey_stays BEFORE UPDATE ON lending_addresskey
    FOR EACH ROW EXECUTE FUNCTION lending_keep_address_key();
"""
UNGUARD = """
DROP TRIGGER lending_addresskey_stays ON lending_addresskey;
DROP FUNCTION lending_keep_address_key();
DROP TRIGGER lending_depositaddress_next ON lending_depositaddress;
DROP FUNCTION lending_next_address();
"""
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE (next_index, retired_at, retired_by_id) ON lending_addresskey TO app;
        GRANT UPDATE (watched_at) ON lending_depositaddress TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0019_onboarding"),
    ]

    operations = [
        migrations.AddField(
            model_name="depositaddress",
            name="index",
            field=models.PositiveIntegerField(help_text="below the account's key, at 0/index", null=True),
        ),
        migrations.AddField(
            model_name="depositaddress",
            name="watched_at",
            field=models.DateTimeField(help_text="since when the custodian watches what was derived", null=True),
        ),
        migrations.CreateModel(
            name="AddressKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("chain", models.CharField(max_length=20)),
                ("xpub", models.CharField(max_length=120, unique=True, verbose_name="extended public key")),
                ("used_from", models.DateTimeField()),
                (
                    "next_index",
                    models.PositiveIntegerField(
                        default=0, help_text="the next one has this index", verbose_name="addresses given out"
                    ),
                ),
                ("retired_at", models.DateTimeField(null=True)),
                (
                    "checker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "maker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "retired_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="depositaddress",
            name="address_key",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="addresses",
                to="lending.addresskey",
            ),
        ),
        migrations.AddConstraint(
            model_name="depositaddress",
            constraint=models.UniqueConstraint(fields=("address_key", "index"), name="address_index_once"),
        ),
        migrations.AddConstraint(
            model_name="depositaddress",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("address_key__isnull", True), ("index__isnull", True)),
                    models.Q(("address_key__isnull", False), ("index__isnull", False)),
                    _connector="OR",
                ),
                name="derived_address_has_its_index",
            ),
        ),
        migrations.AddConstraint(
            model_name="addresskey",
            constraint=models.UniqueConstraint(
                condition=models.Q(("retired_at", None)), fields=("chain",), name="one_key_a_chain"
            ),
        ),
        migrations.AddConstraint(
            model_name="addresskey",
            constraint=models.CheckConstraint(
                condition=models.Q(("maker", models.F("checker")), _negated=True),
                name="address_key_maker_is_not_checker",
            ),
        ),
        migrations.AddConstraint(
            model_name="addresskey",
            constraint=models.CheckConstraint(
                condition=models.Q(("xpub__regex", "^[xz]pub")), name="address_key_is_public"
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
