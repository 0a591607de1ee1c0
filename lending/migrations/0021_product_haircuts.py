import django.db.models.deletion
from django.db import migrations, models

import lending.models.fields

GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE (haircut) ON lending_producthaircut TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0020_address_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="ProductHaircut",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("haircut", lending.models.fields.RatioField(decimal_places=12, max_digits=20)),
                ("asset", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="lending.asset")),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="haircuts", to="lending.product"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("product", "asset"), name="product_haircut_once"),
                    models.CheckConstraint(
                        condition=models.Q(("haircut__gte", 0), ("haircut__lt", 1)), name="product_haircut_below_one"
                    ),
                ],
            },
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
