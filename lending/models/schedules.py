"""What a loan is to pay and when: the rows of its schedule as agreed, and what its client is to do about them."""

from django.db import models
from django.db.models import Q

from lending.models.clients import Client
from lending.models.fields import AmountField


class ScheduleKind(models.TextChoices):
    BULLET = "bullet", "all at maturity"
    INTEREST_ONLY = "interest_only", "interest only"
    EQUAL_PRINCIPAL = "equal_principal", "equal principal"
    EQUAL_INSTALMENT = "equal_instalment", "equal instalments"
    CAPITALISED = "capitalised", "interest becomes principal"


class Tenor(models.TextChoices):
    """When a loan ends: on a day that was agreed, or when either side ends it with notice."""

    FIXED = "fixed", "a fixed term"
    OPEN = "open", "an open term"
    REVOLVING = "revolving", "a revolving line"


class Frequency(models.IntegerChoices):
    MONTHLY = 1, "every month"
    QUARTERLY = 3, "every three months"
    HALF_YEARLY = 6, "every six months"
    YEARLY = 12, "every year"


class Calendar(models.TextChoices):
    """On which days money moves: the market codes of the banks' own settlement, or every day, as chains do."""

    EVERY_DAY = "", "every day"
    FEDWIRE = "XFED", "Fedwire"
    TARGET = "XECB", "TARGET"


class Prepayment(models.TextChoices):
    """What principal costs that is paid before its time; equal to `lending.engine.prepayment.Kind`."""

    NOTHING = "", "nothing"
    SHARE = "share", "a share of what is prepaid"
    INTEREST = "interest", "interest lost, less what it earns elsewhere"


class ScheduleRow(models.Model):
    """
    What is to be paid at the end of one period, in the loan's asset, if nothing is paid before.

    Rows are written once. What changes a schedule writes all its rows anew under the next version.
    """

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey("lending.Loan", on_delete=models.PROTECT, related_name="schedule_rows")
    version = models.PositiveSmallIntegerField(default=1)
    number = models.PositiveSmallIntegerField()
    due_date = models.DateField(help_text="as agreed")
    pay_date = models.DateField(help_text="the next day on which money moves; interest counts to its start")
    principal = AmountField()
    interest = AmountField()
    balance = AmountField(help_text="principal that is left once it is paid")
    agreed_at = models.DateTimeField(null=True, help_text="of a later version: when it was agreed")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="schedule_row_once", fields=["loan", "version", "number"]),
            models.CheckConstraint(name="schedule_row_paid_when_due", condition=Q(pay_date__gte=models.F("due_date"))),
            models.CheckConstraint(
                name="schedule_row_not_negative",
                condition=Q(principal__gte=0) & Q(interest__gte=0) & Q(balance__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number} due {self.due_date}"
