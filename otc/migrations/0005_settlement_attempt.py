from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("otc", "0004_rfq_basis_in_grace")]

    operations = [
        migrations.AddField(
            model_name="settlement",
            name="attempt",
            field=models.PositiveIntegerField(
                default=1, help_text="each refusal is final for its key; the next has another"
            ),
        ),
    ]
