"""What may be offered to whom: rules with dates, so that a change of the law is a row and not a release."""

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.users import User


class EligibilityRule(models.Model):
    """That a product may, or may not, be offered to clients of a jurisdiction and classification; empty means any."""

    jurisdiction = models.CharField(max_length=2, blank=True, help_text="ISO 3166 country code; empty: any")
    classification = models.CharField(max_length=24, choices=Client.Classification.choices, blank=True)
    product = models.ForeignKey("lending.Product", on_delete=models.PROTECT, null=True, blank=True)
    allowed = models.BooleanField()
    reason = models.CharField(max_length=240)
    start_date = models.DateField()
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    end_date = models.DateField(null=True, blank=True, help_text="first day on which it no longer holds")
    end_maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    end_checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="eligibility_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(
                name="eligibility_is_ended_by_two",
                condition=Q(end_date=None, end_maker=None, end_checker=None)
                | (
                    Q(end_date__gt=F("start_date"), end_maker__isnull=False, end_checker__isnull=False)
                    & ~Q(end_maker=F("end_checker"))
                ),
            ),
        ]

    def __str__(self) -> str:
        who = f"{self.get_classification_display() or 'Any'} clients in {self.jurisdiction or 'any country'}"
        return f"{who}: {self.product or 'every product'} {'allowed' if self.allowed else 'refused'}"
