"""What is drawn of a revolving line: proposed or asked for, signed for its client, paid out by another person."""

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField
from lending.models.users import User


class Draw(models.Model):
    """
    An amount of a line that its client wants, or has been paid.

    All that was drawn of a line when it was taken over is one draw of that instant, by the two who took it over.
    """

    class State(models.TextChoices):
        PROPOSED = "proposed", "waits for the client's signature"
        REQUESTED = "requested", "asked for"
        PAID_OUT = "paid_out", "paid out"
        CANCELLED = "cancelled", "cancelled"

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey("lending.Loan", on_delete=models.PROTECT, related_name="draws")
    amount = AmountField(help_text="in the loan's asset, > 0")
    state = models.CharField(max_length=12, choices=State.choices, default=State.REQUESTED)
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", help_text="maker")
    asked_at = models.DateTimeField()
    signed_by = models.ForeignKey(
        User,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        help_text="the client's signer, the second of two",
    )
    signed_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, help_text="checker")
    decided_at = models.DateTimeField(null=True)
    entry = models.ForeignKey("lending.Entry", on_delete=models.PROTECT, null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="draw_positive", condition=Q(amount__gt=0)),
            models.UniqueConstraint(
                name="draw_one_at_a_time", fields=["loan"], condition=Q(state__in=["proposed", "requested"])
            ),
            models.CheckConstraint(
                name="draw_paid_out_by_another",
                condition=~Q(state="paid_out")
                | Q(entry__isnull=False, decided_at__isnull=False, decided_by__isnull=False)
                & ~Q(decided_by=F("asked_by")),
            ),
            models.CheckConstraint(
                name="draw_signed_before_it_is_paid_out",
                condition=Q(state__in=["proposed", "cancelled"])
                | Q(signed_by__isnull=False, signed_at__isnull=False)
                & (Q(decided_by__isnull=True) | ~Q(decided_by=F("signed_by"))),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_state_display()}, {self.asked_at:%d %b %Y %H:%M} UTC"
