from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0055_held_deposits_booked_out"),
    ]

    operations = [
        migrations.AlterField(
            model_name="overdue",
            name="kind",
            field=models.CharField(
                choices=[
                    ("reset", "rate reset"),
                    ("capitalisation", "interest that becomes principal"),
                    ("dunning", "what falls due of it"),
                    ("rolling", "what its next period asks for"),
                    ("amendment", "a change of its terms"),
                    ("closing", "its end"),
                    ("accrual", "its daily interest"),
                    ("lapse", "its end without a payout"),
                ],
                max_length=16,
            ),
        ),
    ]
