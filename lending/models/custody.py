"""Where coins and cash are held: addresses, deposits, withdrawals and breaks."""

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField
from lending.models.users import User


class AddressKey(models.Model):
    """An account's extended public key, from which a chain's deposit addresses are derived; set by two persons."""

    chain = models.CharField(max_length=20)
    xpub = models.CharField(max_length=120, unique=True, verbose_name="extended public key")
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    used_from = models.DateTimeField()
    next_index = models.PositiveIntegerField("addresses given out", default=0, help_text="the next one has this index")
    retired_at = models.DateTimeField(null=True)
    retired_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_key_a_chain", fields=["chain"], condition=Q(retired_at=None)),
            models.CheckConstraint(name="address_key_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(name="address_key_is_public", condition=Q(xpub__regex="^[xz]pub")),
        ]

    def __str__(self) -> str:
        return f"{self.chain} …{self.xpub[-6:]}"


class DepositAddress(models.Model):
    """
    An address of one client, margin account and asset; what arrives there is a top-up, or a payment.

    It is the custodian's own, or derived from an account's key: that is shown once the custodian watches it.
    """

    class Purpose(models.TextChoices):
        COLLATERAL = "collateral"
        REPAYMENT = "repayment"

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    margin_account = models.ForeignKey(
        "lending.MarginAccount", on_delete=models.PROTECT, related_name="deposit_addresses"
    )
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    purpose = models.CharField(max_length=12, choices=Purpose.choices)
    address = models.CharField(max_length=120, unique=True)
    address_key = models.ForeignKey(AddressKey, on_delete=models.PROTECT, null=True, related_name="addresses")
    index = models.PositiveIntegerField(null=True, help_text="below the account's key, at 0/index")
    created_at = models.DateTimeField()
    watched_at = models.DateTimeField(null=True, help_text="since when the custodian watches what was derived")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="deposit_address_once", fields=["margin_account", "asset", "purpose"]),
            models.UniqueConstraint(name="address_index_once", fields=["address_key", "index"]),
            models.CheckConstraint(
                name="derived_address_has_its_index",
                condition=Q(address_key__isnull=True, index__isnull=True)
                | Q(address_key__isnull=False, index__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.address


class Deposit(models.Model):
    """A transfer in, as the custodian reports it; counts only once confirmed and credited."""

    class State(models.TextChoices):
        PENDING = "pending"
        CONFIRMED = "confirmed"
        CREDITED = "credited"
        REORGED = "reorged"
        UNMATCHED = "unmatched"
        HELD = "held"  # the custodian objects to its sender
        BOOKED_OUT = "booked_out"  # it was held, and is at the custodian no more

    public_id = PublicIdField()
    custodian = models.CharField(max_length=40)
    custodian_ref = models.CharField(max_length=120, help_text="the custodian's own id")
    position = models.BigIntegerField(
        help_text="in the custodian's own list; what was read so far is its maximum; below zero: from a bank statement"
    )
    client = models.ForeignKey(Client, on_delete=models.PROTECT, null=True, help_text="null only while unmatched")
    sent_to = models.CharField(max_length=120, help_text="the address it arrived at, known to us or not")
    address = models.ForeignKey(DepositAddress, on_delete=models.PROTECT, null=True)
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    quantity = AmountField()
    confirmations = models.PositiveIntegerField(default=0)
    screened = models.BooleanField(default=False, help_text="the custodian has nothing against its sender")
    final_since = models.DateTimeField(
        null=True, help_text="when we read that at most its last confirmation was missing; null if it needs but one"
    )
    state = models.CharField(max_length=12, choices=State.choices, default=State.PENDING)
    seen_at = models.DateTimeField(help_text="when the custodian first saw it")
    confirmed_at = models.DateTimeField(
        null=True, help_text="when the custodian saw the confirmation it needed; deadlines are held against it"
    )
    credited_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="deposit_once", fields=["custodian", "custodian_ref"]),
            models.UniqueConstraint(name="deposit_position_once", fields=["custodian", "position"]),
            models.CheckConstraint(name="deposit_positive", condition=Q(quantity__gt=0)),
        ]
        indexes = [models.Index(fields=["state"])]

    def __str__(self) -> str:
        return self.custodian_ref


class CustodyReading(models.Model):
    """Until when all deposits that a custodian has seen are known to us."""

    custodian = models.CharField(max_length=40, unique=True)
    read_at = models.DateTimeField()
    reconciled_at = models.DateTimeField(null=True, help_text="when both books were last compared")


class CustodianWebhook(models.Model):
    """What a custodian told us, once per its id; what it is about is read from the custodian, never from here."""

    custodian = models.CharField(max_length=40)
    message_id = models.CharField(max_length=120)
    kind = models.CharField(max_length=60)
    subject = models.CharField(max_length=200, help_text="the custodian's ref of a deposit, our id of a withdrawal")
    said = models.JSONField()
    heard_at = models.DateTimeField()
    times = models.PositiveIntegerField(default=0, help_text="how often it came")

    class Meta:
        constraints = [models.UniqueConstraint(name="webhook_once", fields=["custodian", "message_id"])]
        indexes = [models.Index(fields=["heard_at"])]

    def __str__(self) -> str:
        return self.message_id


class Withdrawal(models.Model):
    """A transfer out under an id of our own; an unknown answer is queried before anything is sent again."""

    class State(models.TextChoices):
        REQUESTED = "requested"
        SENT = "sent"
        UNKNOWN = "unknown"
        DONE = "done"
        FAILED = "failed"

    public_id = PublicIdField()
    key = models.CharField(max_length=200, unique=True)
    client = models.ForeignKey(
        Client, on_delete=models.PROTECT, null=True, help_text="null for the desk's own settlement"
    )
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    quantity = AmountField()
    destination = models.CharField(max_length=120)
    purpose = models.CharField(max_length=20)
    state = models.CharField(max_length=12, choices=State.choices, default=State.REQUESTED)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    requested_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)
    custodian_ref = models.CharField(max_length=120, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="withdrawal_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(name="withdrawal_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(
                name="withdrawal_checked_was_made", condition=Q(checker__isnull=True) | Q(maker__isnull=False)
            ),
        ]
        indexes = [models.Index(fields=["state", "next_attempt_at"])]

    def __str__(self) -> str:
        return self.key


class WithdrawalAddress(models.Model):
    """An address of a client to which coins may go, allowed by two persons and usable after a cooling-off."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="withdrawal_addresses")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    address = models.CharField(max_length=120)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    allowed_at = models.DateTimeField()
    usable_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="address_allowed_once", fields=["client", "asset", "address"], condition=Q(revoked_at=None)
            ),
            models.CheckConstraint(name="address_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(name="address_cools_off", condition=Q(usable_at__gt=F("allowed_at"))),
        ]


class CustodyBreak(models.Model):
    """
    Something that the ledger and the custodian say differently; blocks releases of its asset until they agree.

    What the custodian holds of an asset that the desk does not know is one too, and blocks nothing: nobody is owed it.

    The quantities are what each side has: of a single movement what it makes of the balance, of a balance what should
    be held, with all that movements explain, against what is.
    """

    class Kind(models.TextChoices):
        BALANCE = "balance"
        DEPOSIT = "deposit"
        WITHDRAWAL = "withdrawal"
        EXCHANGE = "exchange"

    custodian = models.CharField(max_length=40)
    asset = models.ForeignKey(
        "lending.Asset", on_delete=models.PROTECT, null=True, help_text="null for one that the desk does not know"
    )
    code = models.CharField(max_length=40, verbose_name="asset", help_text="as the custodian names it")
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.BALANCE)
    ref = models.CharField(max_length=200, blank=True, help_text="the movement's id; none for a balance")
    words = models.CharField(max_length=300, blank=True, verbose_name="what was found")
    ledger_quantity = AmountField()
    custodian_quantity = AmountField()
    found_at = models.DateTimeField(verbose_name="first seen")
    seen_at = models.DateTimeField(null=True, verbose_name="last seen")
    worked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    worked_since = models.DateTimeField(null=True)
    explanation = models.CharField(max_length=400, blank=True)
    explained_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    explained_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    closed_how = models.CharField(max_length=200, blank=True)
    booked = models.BooleanField(default=False, help_text="two persons took the difference on the desk's books")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_open_break", fields=["custodian", "code", "kind", "ref"], condition=Q(closed_at=None)
            ),
            models.CheckConstraint(name="break_of_something", condition=~Q(code="")),
            models.CheckConstraint(
                name="break_explained_by_somebody", condition=Q(explanation="") | Q(explained_by__isnull=False)
            ),
        ]
        indexes = [models.Index(name="open_breaks", fields=["asset"], condition=Q(closed_at=None))]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.ref}".strip() + f", {self.found_at:%d %b %Y %H:%M}"


class Reconciliation(models.Model):
    """One comparison of the ledger with a custodian that is kept: the first of each day, and those asked for."""

    custodian = models.CharField(max_length=40)
    day = models.DateField(null=True, help_text="the day whose first it is; null for one that somebody asked for")
    made_at = models.DateTimeField()
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    checked = models.PositiveIntegerField(help_text="movements compared one by one")
    breaks = models.PositiveIntegerField(help_text="open when it was made")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_reconciliation_a_day", fields=["custodian", "day"]),
            models.CheckConstraint(
                name="reconciliation_of_a_day_or_asked_for", condition=Q(day__isnull=False) | Q(asked_by__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.custodian}, {self.made_at:%d %b %Y %H:%M}"


class ReconciliationLine(models.Model):
    """What both sides hold of one asset, what is under way between them, and what nothing explains."""

    reconciliation = models.ForeignKey(Reconciliation, on_delete=models.PROTECT, related_name="lines")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    ledger_quantity = AmountField()
    custodian_quantity = AmountField()
    under_way = AmountField(help_text="at the custodian already and not booked yet, or the other way round")
    in_breaks = AmountField(help_text="explained by movements that are breaks themselves")
    unexplained = AmountField()

    class Meta:
        constraints = [models.UniqueConstraint(name="one_line_an_asset", fields=["reconciliation", "asset"])]
