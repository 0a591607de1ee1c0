"""Interest that became principal at the end of a period, and by how much a later look changed it."""

from django.db import models
from django.db.models import Q

from lending.models.clients import Client
from lending.models.fields import AmountField
from lending.models.loans import Loan
from lending.models.schedules import ScheduleRow


class Capitalisation(models.Model):
    """
    What became principal for one row of a loan's schedule, in the loan's asset; rows of one period add up.

    The first row of a period says what was due then; a later one by how much that was another, of either sign.
    """

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="capitalisations")
    row = models.ForeignKey(ScheduleRow, on_delete=models.PROTECT, related_name="capitalisations")
    at = models.DateTimeField(help_text="start of the day on which the period ends")
    number = models.PositiveSmallIntegerField(default=1)
    amount = AmountField()
    entry = models.ForeignKey("lending.Entry", on_delete=models.PROTECT, null=True)
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="capitalised_once", fields=["row", "number"]),
            models.CheckConstraint(
                name="capitalised_by_an_entry",
                condition=Q(amount=0, number=1, entry__isnull=True) | ~Q(amount=0) & Q(entry__isnull=False),
            ),
            models.CheckConstraint(name="capitalised_is_not_negative", condition=Q(amount__gte=0) | Q(number__gt=1)),
        ]

    def __str__(self) -> str:
        return f"{self.amount.normalize():,f} became principal on {self.at:%d %b %Y}"
