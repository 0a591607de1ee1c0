from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("otc", "0002_guards")]

    operations = [
        migrations.AddField(
            model_name="rfq",
            name="basis",
            field=models.CharField(
                choices=[
                    ("automatic", "a good mark"),
                    ("sale_on_degraded", "two persons, on a degraded mark"),
                ],
                default="automatic",
                max_length=20,
            ),
        ),
    ]
