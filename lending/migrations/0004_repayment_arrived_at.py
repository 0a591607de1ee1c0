from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("lending", "0003_house_book")]

    operations = [
        migrations.AddField(
            model_name="repayment",
            name="arrived_at",
            field=models.DateTimeField(
                help_text="when it arrived, where it had to be applied from later on", null=True
            ),
        ),
    ]
