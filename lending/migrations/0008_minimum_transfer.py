from django.db import migrations, models
from django.db.models import Q

import lending.models.fields


class Migration(migrations.Migration):
    dependencies = [("lending", "0007_rails_and_phones")]

    operations = [
        migrations.AddField(
            model_name="ladderterms",
            name="minimum_transfer",
            field=lending.models.fields.AmountField(
                decimal_places=18,
                default=0,
                help_text="USD; a first-level call for less waits until it is more",
                max_digits=38,
            ),
        ),
        migrations.AddField(
            model_name="ladderterms",
            name="call_rounding",
            field=lending.models.fields.AmountField(
                decimal_places=18,
                default=0,
                help_text="USD; what a call asks for is rounded up to a multiple of it",
                max_digits=38,
            ),
        ),
        migrations.AddConstraint(
            model_name="ladderterms",
            constraint=models.CheckConstraint(
                condition=Q(minimum_transfer__gte=0) & Q(call_rounding__gte=0), name="ladder_transfers_not_negative"
            ),
        ),
    ]
