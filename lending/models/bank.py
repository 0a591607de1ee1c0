"""What the desk's banks say: accounts, the statements that came of them, and each line until it is accounted for."""

from django.db import models
from django.db.models import F, Q

from lending.models.fields import AmountField, PublicIdField
from lending.models.users import User


class BankAccount(models.Model):
    """An account of the desk at a bank, and the name under which the ledger holds its cash."""

    code = models.SlugField(max_length=20, unique=True)
    name = models.CharField(max_length=80)
    identifier = models.CharField(
        max_length=60, unique=True, help_text="IBAN or account number, as the bank's statements name it"
    )
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT, help_text="the currency it is kept in")
    custodian = models.CharField(
        max_length=40, help_text="name under which the ledger holds this cash: the custodian's, or one of its own"
    )
    reported_live = models.BooleanField(
        default=False, help_text="the custodian reports receipts on this account as they come; its statements follow"
    )
    second_person_above = AmountField(default=0, help_text="what one person may decide about a line, at most")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_bank_account_per_cash_account", fields=["custodian", "asset"]),
            models.CheckConstraint(name="bank_limit_not_negative", condition=Q(second_person_above__gte=0)),
        ]

    def __str__(self) -> str:
        return self.name


class BankStatement(models.Model):
    """A statement as it was imported; its lines lead from opening to closing."""

    account = models.ForeignKey(BankAccount, on_delete=models.PROTECT, related_name="statements")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    number = models.CharField(max_length=60)
    form = models.CharField(max_length=12, verbose_name="format")
    opening_date = models.DateField()
    closing_date = models.DateField()
    opening = AmountField()
    closing = AmountField()
    file_name = models.CharField(max_length=120)
    sha256 = models.CharField(max_length=64, help_text="of the file it came in")
    imported_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    imported_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="bank_statement_once", fields=["account", "number", "closing_date"]),
            models.CheckConstraint(
                name="bank_statement_closes_after_it_opens", condition=Q(closing_date__gte=F("opening_date"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number} of {self.closing_date}"


class BankLine(models.Model):
    """A movement on a bank account: open until an entry of the ledger, or a reason, accounts for it."""

    class State(models.TextChoices):
        OPEN = "open"
        MATCHED = "matched"
        NOT_OURS = "not_ours"

    public_id = PublicIdField()
    account = models.ForeignKey(BankAccount, on_delete=models.PROTECT, related_name="lines")
    statement = models.ForeignKey(BankStatement, on_delete=models.PROTECT, related_name="lines")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    key = models.CharField(max_length=160, help_text="what makes it the same line in another statement")
    position = models.PositiveIntegerField(help_text="in the statement that first had it")
    ref = models.CharField(max_length=120, blank=True, help_text="the bank's own reference")
    end_to_end = models.CharField(max_length=120, blank=True, help_text="the reference of whoever paid")
    booked_date = models.DateField()
    value_date = models.DateField()
    arrived_at = models.DateTimeField(help_text="when the money was there: the end of its value date, or as booked")
    amount = AmountField(help_text="positive where money came in")
    payer = models.CharField(max_length=160, blank=True, verbose_name="other side")
    text = models.CharField(max_length=1000, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    entry = models.OneToOneField(
        "lending.Entry",
        on_delete=models.PROTECT,
        null=True,
        related_name="bank_line",
        help_text="what it is in the books",
    )
    reason = models.CharField(max_length=400, blank=True)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["booked_date", "pk"]
        constraints = [
            models.UniqueConstraint(name="bank_line_once", fields=["account", "key"]),
            models.CheckConstraint(name="bank_line_not_zero", condition=~Q(amount=0)),
            models.CheckConstraint(name="bank_line_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(
                name="bank_line_is_accounted_for",
                condition=Q(state="open", entry__isnull=True, decided_at__isnull=True)
                | Q(state="matched", entry__isnull=False, decided_at__isnull=False)
                | Q(state="not_ours", entry__isnull=True, maker__isnull=False, decided_at__isnull=False)
                & ~Q(reason=""),
            ),
        ]
        indexes = [models.Index(fields=["state", "booked_date"])]

    def __str__(self) -> str:
        return f"{self.booked_date} {self.ref or self.position}"
