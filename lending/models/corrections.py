"""What was wrong about a loan's past, who said so, and what it changed about each of its payments."""

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField
from lending.models.loans import Loan, Repayment
from lending.models.users import User


class Correction(models.Model):
    """
    A change of a loan's past: from `effective_at` on everything was worked out again, and the differences were posted.

    A payment that the custodian saw in time and reported late has no maker. A rate that is reset late follows from its
    fixing, which two persons have recorded, interest that becomes principal late and a default that is dated back from
    what was agreed. Everything else has two persons.
    """

    class Kind(models.TextChoices):
        PAYMENT = "payment", "earlier payment"
        REVERSAL = "reversal", "payment taken back"
        WAIVER = "waiver", "make-whole waived"
        RATE = "rate", "rate reset late"
        CAPITALISED = "capitalised", "interest capitalised late"
        DEFAULT = "default", "default dated back"

    class Cause(models.TextChoices):
        LATE = "late", "recorded late"
        WRONG = "wrong", "booked wrongly"
        BOUNCED = "bounced", "the transfer came back"
        WAIVED = "waived", "waived by the desk"

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="corrections")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    cause = models.CharField(max_length=12, choices=Cause.choices)
    repayment = models.ForeignKey(
        Repayment,
        on_delete=models.PROTECT,
        related_name="corrections",
        null=True,
        help_text="entered late, taken back, or freed; of what follows by itself there is none",
    )
    reason = models.CharField(max_length=400)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    effective_at = models.DateTimeField(help_text="from when the past is another")
    recorded_at = models.DateTimeField()
    interest = AmountField(help_text="interest that was posted more for it; negative: less")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="correction_by_two_persons",
                condition=Q(maker__isnull=True, checker__isnull=True)
                | Q(checker__isnull=False) & ~Q(maker=F("checker")),
            ),
            models.CheckConstraint(
                name="payment_taken_back_by_two_persons",
                condition=Q(kind__in=["payment", "rate", "capitalised", "default"])
                | Q(maker__isnull=False, checker__isnull=False),
            ),
            models.CheckConstraint(
                name="correction_of_a_payment_or_a_rate",
                condition=Q(kind__in=["rate", "capitalised", "default"]) ^ Q(repayment__isnull=False),
            ),
            models.UniqueConstraint(name="payment_taken_back_once", fields=["repayment"], condition=Q(kind="reversal")),
            models.UniqueConstraint(name="make_whole_waived_once", fields=["repayment"], condition=Q(kind="waiver")),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {str(self.public_id)[:8]}"

    @property
    def by(self) -> str:
        """Return whose word it was, as a page says it."""
        if self.maker:
            return f"{self.maker} and {self.checker}"
        of_itself = {"rate": "its fixing", "capitalised": "its schedule", "default": "the end of its grace"}
        return of_itself.get(self.kind, "the custodian's report")


class SplitChange(models.Model):
    """How much more, or less, of each due a payment has paid since a correction."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    correction = models.ForeignKey(Correction, on_delete=models.PROTECT, related_name="split_changes")
    repayment = models.ForeignKey(Repayment, on_delete=models.PROTECT, related_name="split_changes")
    amount = AmountField(default=0, help_text="zero; of a payment that is taken back, all of it")
    fees = AmountField(default=0)
    interest = AmountField(default=0)
    principal = AmountField(default=0)
    surplus = AmountField(default=0)
    make_whole = AmountField(default=0, db_default=0)
    entry = models.ForeignKey("lending.Entry", on_delete=models.PROTECT)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="split_change_once", fields=["correction", "repayment"]),
            models.CheckConstraint(
                name="split_change_is_whole",
                condition=Q(amount=F("fees") + F("interest") + F("principal") + F("surplus") + F("make_whole")),
            ),
        ]
