"""What was due of a loan by itself and could not be booked."""

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.loans import Loan


class Overdue(models.Model):
    """A step that is due of a loan by itself, with the words of why it was not taken, until it is."""

    class Kind(models.TextChoices):
        RESET = "reset", "rate reset"
        CAPITALISATION = "capitalisation", "interest that becomes principal"
        DUNNING = "dunning", "what falls due of it"
        ROLLING = "rolling", "what its next period asks for"
        AMENDMENT = "amendment", "a change of its terms"
        CLOSING = "closing", "its end"
        ACCRUAL = "accrual", "its daily interest"
        LAPSE = "lapse", "its end without a payout"

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="overdue")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    at = models.DateTimeField(help_text="from when it was to count")
    reason = models.CharField(max_length=400, help_text="why it was refused when it was tried last")
    since = models.DateTimeField(help_text="when it was refused first")
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="overdue_once", fields=["loan", "kind", "at"]),
            models.CheckConstraint(
                name="overdue_after_it_was_due",
                condition=Q(since__gte=F("at")) & (Q(done_at__isnull=True) | Q(done_at__gte=F("since"))),
            ),
        ]
        indexes = [models.Index(name="overdue_open", fields=["loan"], condition=Q(done_at=None))]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.at:%d %b %Y}"
