"""Loans that another system kept until now: the files that say so, and where each loan came from."""

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField, RatioField
from lending.models.loans import Loan
from lending.models.users import User


class Takeover(models.Model):
    """
    Three files that were sent together, what they say word for word, and the two persons behind them.

    The database keeps the files as they came and proves their hash, which is what the second person approved.
    """

    public_id = PublicIdField()
    source = models.CharField(max_length=40, help_text="the system that kept the loans")
    cut_over_at = models.DateTimeField(help_text="from when on the loans are kept here")
    loans_csv = models.TextField()
    pledges_csv = models.TextField()
    balances_csv = models.TextField()
    files_hash = models.BinaryField(max_length=32, help_text="SHA-256 of the three files")
    totals = models.JSONField(help_text="per asset, as the second person compares them with the old system")
    loan_count = models.PositiveIntegerField()
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="takeover_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(
                name="takeover_done_by_a_checker",
                condition=Q(done_at__isnull=True, checker__isnull=True)
                | Q(done_at__isnull=False, checker__isnull=False),
            ),
            models.UniqueConstraint(
                name="files_taken_over_once", fields=["files_hash"], condition=Q(done_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.loan_count:,} loan{'' if self.loan_count == 1 else 's'} from {self.source}"

    @property
    def fingerprint(self) -> str:
        """Return the hash of the files as people compare it."""
        return bytes(self.files_hash).hex()


class LoanOrigin(models.Model):
    """Where a loan came from: its own reference there, and what stood on it when it was taken over."""

    loan = models.OneToOneField(Loan, on_delete=models.PROTECT, related_name="origin")
    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    takeover = models.ForeignKey(Takeover, on_delete=models.PROTECT, related_name="origins")
    source = models.CharField(max_length=40)
    reference = models.CharField("reference there", max_length=60)
    principal_agreed = AmountField(help_text="when it began, in the loan's asset")
    principal = AmountField(help_text="outstanding when it was taken over; of a line what was drawn")
    interest = AmountField(help_text="accrued and unpaid then")
    fees = AmountField(help_text="due then")
    unused = AmountField(
        default=0, db_default=0, help_text="of the fee on what is not drawn of a line: accrued and not yet charged then"
    )
    fixing = RatioField(null=True, help_text="of the benchmark that its rate follows, by which the rate was then")
    paper = models.CharField(max_length=120, help_text="what was agreed outside, by its name")
    paper_sha256 = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(name="loan_reference_once", fields=["source", "reference"])]

    def __str__(self) -> str:
        return f"{self.reference} at {self.source}"
