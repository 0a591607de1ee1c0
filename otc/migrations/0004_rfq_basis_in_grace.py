from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("otc", "0003_rfq_basis")]

    operations = [
        migrations.AlterField(
            model_name="rfq",
            name="basis",
            field=models.CharField(
                choices=[
                    ("automatic", "a good mark"),
                    ("sale_on_degraded", "two persons, on a degraded mark"),
                    ("sale_in_grace", "two persons, in the grace after an outage"),
                ],
                default="automatic",
                max_length=20,
            ),
        ),
    ]
