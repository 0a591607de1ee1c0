"""The ledger: accounts, entries, postings, balances and the seal chain. Written only by lending/ledger.py."""

from django.db import models
from django.db.models import Q

from lending.engine.chart import AccountKind, Category
from lending.models.assets import Asset
from lending.models.fields import AmountField
from lending.models.users import User


class Book(models.Model):
    """A P&L book of the desk."""

    code = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.code


class LedgerAccount(models.Model):
    """One account of one asset; `key` is its natural name, made of the fields beside it."""

    key = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=24, choices=[(kind.value, kind.value) for kind in AccountKind])
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT)
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, null=True)
    margin_account = models.ForeignKey("lending.MarginAccount", on_delete=models.PROTECT, null=True)
    loan = models.ForeignKey("lending.Loan", on_delete=models.PROTECT, null=True)
    book = models.ForeignKey(Book, on_delete=models.PROTECT, null=True)
    party = models.CharField(max_length=40, blank=True, help_text="custodian, dealer or venue")
    stripe = models.PositiveSmallIntegerField(default=0, help_text="house accounts are spread over several rows")
    opened_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="ledger_account_with_asset", fields=["id", "asset"])]
        indexes = [models.Index(fields=["client", "kind"]), models.Index(fields=["kind", "asset"])]

    def __str__(self) -> str:
        return self.key


class LedgerBalance(models.Model):
    """The running balance of one account, kept by the database from the postings."""

    account = models.OneToOneField(LedgerAccount, on_delete=models.PROTECT, primary_key=True, related_name="balance")
    amount = AmountField(default=0, help_text="debit-positive")
    guard = models.SmallIntegerField(default=0, help_text="1: never below zero, -1: never above, 0: free")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="balance_within_guard",
                condition=Q(guard=0) | Q(guard=1, amount__gte=0) | Q(guard=-1, amount__lte=0),
            )
        ]


class Entry(models.Model):
    """A balanced set of postings under one natural key; never changed, corrected only by a reversing entry."""

    idempotency_key = models.CharField(max_length=200)
    kind = models.CharField(max_length=32)
    effective_at = models.DateTimeField(help_text="when it counts")
    recorded_at = models.DateTimeField(help_text="when the desk knew it")
    content_hash = models.BinaryField(max_length=32)
    reverses = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="reversed_by")
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True)
    txid = models.BigIntegerField(default=0, editable=False, help_text="transaction that wrote it; set by the database")

    class Meta:
        verbose_name_plural = "entries"
        # unique=True would add a second index, for LIKE, to the busiest table.
        constraints = [models.UniqueConstraint(name="entry_once_per_key", fields=["idempotency_key"])]
        indexes = [models.Index(fields=["effective_at"]), models.Index(fields=["txid", "id"])]

    def __str__(self) -> str:
        return self.idempotency_key


class Posting(models.Model):
    """
    A signed amount of one asset on one account, with every dimension a report will ever cut by.

    What it refers to is looked up once per statement by the trigger that takes it, and none of that can be deleted:
    seven foreign keys would lock the same few rows again for every posting.
    """

    entry = models.ForeignKey(Entry, on_delete=models.PROTECT, db_constraint=False, related_name="postings")
    account = models.ForeignKey(
        LedgerAccount, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="postings"
    )
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    amount = AmountField(help_text="debit-positive")
    client = models.ForeignKey(
        "lending.Client", on_delete=models.PROTECT, db_constraint=False, db_index=False, null=True
    )
    loan = models.ForeignKey("lending.Loan", on_delete=models.PROTECT, db_constraint=False, null=True)
    book = models.ForeignKey(Book, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    category = models.CharField(max_length=24, default=Category.BALANCE_SHEET)
    cause = models.CharField(max_length=80, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(name="posting_not_zero", condition=~Q(amount=0))]
        indexes = [models.Index(fields=["account", "entry"]), models.Index(fields=["client", "entry"])]

    def __str__(self) -> str:
        return f"{self.category.replace('_', ' ')} {self.pk}"


class Seal(models.Model):
    """A link of the hash chain over the ledger, written by the one sealer in gapless order."""

    seq = models.BigIntegerField(primary_key=True)
    entry = models.OneToOneField(Entry, on_delete=models.PROTECT)
    previous_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)
    sealed_at = models.DateTimeField()
