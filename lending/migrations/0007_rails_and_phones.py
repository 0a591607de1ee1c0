from django.db import migrations, models


class Migration(migrations.Migration):
    """How long a confirmation usually takes on a network, and the phone of whoever looks after a client."""

    dependencies = [("lending", "0006_freeze")]

    operations = [
        migrations.AddField(
            model_name="assetnetwork",
            name="block_s",
            field=models.PositiveIntegerField(default=0, help_text="usual seconds per confirmation; 0: not known"),
        ),
        migrations.AddField(
            model_name="user",
            name="phone",
            field=models.CharField(
                blank=True, help_text="where a borrower reaches a person of the desk", max_length=30, default=""
            ),
            preserve_default=False,
        ),
    ]
