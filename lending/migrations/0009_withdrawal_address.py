import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# An address is struck off, never changed and never deleted.
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE (revoked_at, revoked_by_id) ON lending_withdrawaladdress TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0008_minimum_transfer"),
    ]

    operations = [
        migrations.CreateModel(
            name="WithdrawalAddress",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.CharField(max_length=120)),
                ("allowed_at", models.DateTimeField()),
                ("usable_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("asset", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.asset")),
                (
                    "checker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "client",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="withdrawal_addresses",
                        to="lending.client",
                    ),
                ),
                (
                    "maker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "revoked_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("revoked_at", None)),
                        fields=("client", "asset", "address"),
                        name="address_allowed_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("maker", models.F("checker")), _negated=True),
                        name="address_maker_is_not_checker",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("usable_at__gt", models.F("allowed_at"))), name="address_cools_off"
                    ),
                ],
            },
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
