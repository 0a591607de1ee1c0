from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0052_signers_of_their_own"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="ladderterms",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_preset", True)),
                fields=("name",),
                name="ladder_preset_called_once",
                violation_error_message="a ladder that is offered is called that already",
            ),
        ),
        migrations.AlterConstraint(
            model_name="ladderterms",
            name="ladder_in_order",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("release_to__lte", models.F("initial_ltv")),
                    ("initial_ltv__lt", models.F("warning_ltv")),
                    ("warning_ltv__lt", models.F("margin_call_ltv")),
                    ("margin_call_ltv__lt", models.F("accelerated_ltv")),
                    ("accelerated_ltv__lt", models.F("liquidation_ltv")),
                    ("liquidation_ltv__lt", 1),
                ),
                name="ladder_in_order",
                violation_error_message="the levels do not rise: a release leaves, paid out at most, warning, margin call, accelerated, sale, below 100 %%",
            ),
        ),
        migrations.AlterConstraint(
            model_name="ladderterms",
            name="ladder_targets_below_call",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("cure_to__lt", models.F("margin_call_ltv")),
                    ("liquidate_to__lt", models.F("margin_call_ltv")),
                    ("clear_ltv__lt", models.F("margin_call_ltv")),
                    ("release_trigger__lte", models.F("release_to")),
                ),
                name="ladder_targets_below_call",
                violation_error_message="what ends a call, and what a sale or a cure brings the LTV to, lies below its level; what lets collateral go back is not above what a release leaves",
            ),
        ),
        migrations.AlterConstraint(
            model_name="ladderterms",
            name="ladder_transfers_not_negative",
            constraint=models.CheckConstraint(
                condition=models.Q(("minimum_transfer__gte", 0), ("call_rounding__gte", 0)),
                name="ladder_transfers_not_negative",
                violation_error_message="an amount of a call is not below zero",
            ),
        ),
    ]
