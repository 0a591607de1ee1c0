"""What may be offered to whom."""

from django.db import models

from lending.models.clients import Client
from lending.models.dated import DatedRule, begun_by_two, ended_by_two


class EligibilityRule(DatedRule):
    """That a product may, or may not, be offered to clients of a jurisdiction and classification; empty means any."""

    jurisdiction = models.CharField(max_length=2, blank=True, help_text="ISO 3166 country code; empty: any")
    classification = models.CharField(max_length=24, choices=Client.Classification.choices, blank=True)
    product = models.ForeignKey("lending.Product", on_delete=models.PROTECT, null=True, blank=True)
    allowed = models.BooleanField()
    reason = models.CharField(max_length=240)

    class Meta:
        constraints = [
            begun_by_two("eligibility_maker_is_not_checker"),
            ended_by_two("eligibility_is_ended_by_two"),
        ]

    def __str__(self) -> str:
        who = f"{self.get_classification_display() or 'Any'} clients in {self.jurisdiction or 'any country'}"
        return f"{who}: {self.product or 'every product'} {'allowed' if self.allowed else 'refused'}"
