import django.db.models.deletion
from django.db import migrations, models

KINDS = [
    ("payment", "earlier payment"),
    ("reversal", "payment taken back"),
    ("waiver", "make-whole waived"),
    ("rate", "rate reset late"),
    ("capitalised", "interest capitalised late"),
    ("default", "default dated back"),
]


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0046_departures"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="correction", name="correction_of_a_payment_or_a_rate"),
        migrations.RemoveConstraint(model_name="correction", name="payment_taken_back_by_two_persons"),
        migrations.AlterField(
            model_name="correction", name="kind", field=models.CharField(choices=KINDS, max_length=12)
        ),
        migrations.AlterField(
            model_name="correction",
            name="repayment",
            field=models.ForeignKey(
                help_text="entered late, taken back, or freed; of what follows by itself there is none",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="corrections",
                to="lending.repayment",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["payment", "rate", "capitalised", "default"]),
                    models.Q(("checker__isnull", False), ("maker__isnull", False)),
                    _connector="OR",
                ),
                name="payment_taken_back_by_two_persons",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["rate", "capitalised", "default"]), ("repayment__isnull", False), _connector="XOR"
                ),
                name="correction_of_a_payment_or_a_rate",
            ),
        ),
    ]
