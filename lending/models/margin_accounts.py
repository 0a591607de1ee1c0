"""Margin accounts: what pledges, ladder terms, calls, episodes and orders belong to."""

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField, RatioField
from lending.models.users import User


class LadderTerms(models.Model):
    """The ladder and its clocks, fixed at signing; a change is a new row that both sides accepted."""

    name = models.CharField(max_length=60)
    initial_ltv = RatioField()
    warning_ltv = RatioField()
    margin_call_ltv = RatioField()
    accelerated_ltv = RatioField()
    liquidation_ltv = RatioField()
    cure_to = RatioField()
    liquidate_to = RatioField()
    clear_ltv = RatioField()
    release_trigger = RatioField()
    release_to = RatioField()
    cure_period_s = models.PositiveIntegerField()
    accelerated_cure_period_s = models.PositiveIntegerField()
    clear_hold_s = models.PositiveIntegerField(default=600, help_text="how long LTV must hold below clear_ltv")
    reopen_window_s = models.PositiveIntegerField(default=86400, help_text="a breach within it reopens the episode")
    gap_limit = RatioField(default="0.03", help_text="LTV past liquidation at which waiting ends")
    final_wait_s = models.PositiveIntegerField(
        default=1800, help_text="at most so long, and once, a sale waits for a cure in its final confirmation"
    )
    minimum_transfer = AmountField(default=0, help_text="USD; a first-level call for less waits until it is more")
    call_rounding = AmountField(default=0, help_text="USD; what a call asks for is rounded up to a multiple of it")
    liquidation_fee = RatioField(default="0.01", help_text="fraction of the sale's proceeds")
    is_preset = models.BooleanField(default=False, help_text="offered when a loan is booked")

    class Meta:
        verbose_name_plural = "ladder terms"
        constraints = [
            models.CheckConstraint(
                name="ladder_in_order",
                condition=Q(release_to__lte=F("initial_ltv"))
                & Q(initial_ltv__lt=F("warning_ltv"))
                & Q(warning_ltv__lt=F("margin_call_ltv"))
                & Q(margin_call_ltv__lt=F("accelerated_ltv"))
                & Q(accelerated_ltv__lt=F("liquidation_ltv"))
                & Q(liquidation_ltv__lt=1),
                violation_error_message="the levels do not rise: a release leaves, paid out at most, warning, margin "
                "call, accelerated, sale, below 100 %%",
            ),
            models.CheckConstraint(
                name="ladder_transfers_not_negative",
                condition=Q(minimum_transfer__gte=0) & Q(call_rounding__gte=0),
                violation_error_message="an amount of a call is not below zero",
            ),
            models.CheckConstraint(
                name="ladder_targets_below_call",
                condition=Q(cure_to__lt=F("margin_call_ltv"))
                & Q(liquidate_to__lt=F("margin_call_ltv"))
                & Q(clear_ltv__lt=F("margin_call_ltv"))
                & Q(release_trigger__lte=F("release_to")),
                violation_error_message="what ends a call, and what a sale or a cure brings the LTV to, lies below its "
                "level; what lets collateral go back is not above what a release leaves",
            ),
            models.UniqueConstraint(
                name="ladder_preset_called_once",
                fields=["name"],
                condition=Q(is_preset=True),
                violation_error_message="a ladder that is offered is called that already",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def levels(self) -> tuple[tuple[str, Decimal], ...]:
        """Return the levels at which something happens to a borrower, by the names that every screen gives them."""
        return (
            ("A call ends early", self.clear_ltv),
            ("Warning", self.warning_ltv),
            ("Margin call", self.margin_call_ltv),
            ("Accelerated", self.accelerated_ltv),
            ("Sale of collateral", self.liquidation_ltv),
        )


STANDARD = 1  # the key of a security interest of first rank: what every sheet without a word of it means
AS_USUAL: dict[str, Any] = {"default": STANDARD, "db_default": models.Value(STANDARD)}


class PledgeForm(models.TextChoices):
    SECURITY_INTEREST = "security_interest", "security interest"
    TITLE_TRANSFER = "title_transfer", "title transfer"


class PledgeTerms(models.Model):
    """How collateral is given: its form, rank, where it is kept, who has what forks bring. A row never changes."""

    class Segregation(models.TextChoices):
        CLIENTS = "clients", "with other clients' collateral"
        ALONE = "alone", "in an account of its own"
        DESK = "desk", "with what is the desk's own"

    class Forks(models.TextChoices):
        CLIENT = "client", "the client"
        DESK = "desk", "the desk"

    name = models.CharField(max_length=60, unique=True)
    form = models.CharField(max_length=20, choices=PledgeForm.choices)
    rank = models.PositiveSmallIntegerField(default=1, help_text="1 comes before every other creditor")
    segregation = models.CharField(max_length=8, choices=Segregation.choices)
    forks = models.CharField(max_length=8, choices=Forks.choices, help_text="who has what forks and airdrops bring")

    class Meta:
        verbose_name_plural = "pledge terms"
        constraints = [
            models.CheckConstraint(name="pledge_terms_have_a_rank", condition=Q(rank__gte=1)),
            # What is the desk's own is kept with the desk's own, and nobody comes before or after it.
            models.CheckConstraint(
                name="pledge_terms_of_title",
                condition=Q(form="title_transfer", segregation="desk", rank=1)
                | ~Q(form="title_transfer") & ~Q(segregation="desk"),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def by_title(self) -> bool:
        """Return whether collateral becomes the desk's own, which owes as much of the same kind."""
        return self.form == PledgeForm.TITLE_TRANSFER


class MarginAccount(models.Model):
    """One ring-fenced loan, or a pool of loans that share collateral. Its row is the serialisation point."""

    named_by = ("client",)

    class Kind(models.TextChoices):
        RING_FENCED = "ring_fenced"
        POOL = "pool"

    SHARDS = 64

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="margin_accounts")
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.RING_FENCED)
    terms = models.ForeignKey(LadderTerms, on_delete=models.PROTECT)
    pledge_terms = models.ForeignKey(PledgeTerms, on_delete=models.PROTECT, **AS_USUAL)
    shard = models.PositiveSmallIntegerField(editable=False, help_text="id % 64, set by the database at creation")
    version = models.BigIntegerField(default=0, help_text="raised by every change of debt, collateral or terms")
    touched_xid = models.BigIntegerField(
        default=0, editable=False, help_text="transaction of the last change; set by the database"
    )
    frozen = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(name="shard_of_64", condition=Q(shard__lt=64))]
        indexes = [models.Index(fields=["touched_xid"]), models.Index(fields=["shard"])]

    def __str__(self) -> str:
        return f"{self.client} {str(self.public_id)[:8]}"


class Freeze(models.Model):
    """A span in which a margin account stood still: who stopped it and why, and the two persons who set it free."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    margin_account = models.ForeignKey(MarginAccount, on_delete=models.PROTECT, related_name="freezes")
    frozen_at = models.DateTimeField()
    frozen_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=400)
    lifted_at = models.DateTimeField(null=True)
    lift_maker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    lift_checker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    lift_reason = models.CharField(max_length=400, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_open_freeze", fields=["margin_account"], condition=Q(lifted_at__isnull=True)
            ),
            models.CheckConstraint(
                name="freeze_lifted_by_maker_and_checker",
                condition=Q(lifted_at__isnull=True)
                | (Q(lift_maker__isnull=False) & Q(lift_checker__isnull=False) & ~Q(lift_maker=F("lift_checker"))),
            ),
            models.CheckConstraint(
                name="freeze_lifted_after_it_began",
                condition=Q(lifted_at__isnull=True) | Q(lifted_at__gte=F("frozen_at")),
            ),
        ]


class Pledge(models.Model):
    """How much of one asset secures a margin account, and how much of that is held for a sale."""

    named_by = ("asset",)

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    margin_account = models.ForeignKey(MarginAccount, on_delete=models.PROTECT, related_name="pledges")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    quantity = AmountField(default=0, help_text="pledged and not held for a sale")
    held_quantity = AmountField(default=0, help_text="ordered for sale, not yet sold")
    haircut = RatioField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="pledge_once", fields=["margin_account", "asset"]),
            models.CheckConstraint(name="pledge_not_negative", condition=Q(quantity__gte=0) & Q(held_quantity__gte=0)),
            models.CheckConstraint(name="haircut_below_one", condition=Q(haircut__gte=0) & Q(haircut__lt=1)),
        ]

    def __str__(self) -> str:
        return f"{self.quantity.normalize():f} {self.asset.code}"


class PledgeMovement(models.Model):
    """A change of a pledge, with the entry that booked it."""

    class Kind(models.TextChoices):
        PLEDGE = "pledge"
        TOP_UP = "top_up"
        RELEASE = "release"
        HOLD = "hold"
        UNHOLD = "unhold"
        SALE = "sale"
        CLOSE_OUT = "close_out"

    key = models.CharField(max_length=200, unique=True)
    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    margin_account = models.ForeignKey(MarginAccount, on_delete=models.PROTECT, related_name="movements")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    quantity = AmountField(help_text="> 0; the kind says which way")
    effective_at = models.DateTimeField(help_text="when the transfer was received")
    recorded_at = models.DateTimeField()
    entry = models.ForeignKey("lending.Entry", on_delete=models.PROTECT)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(name="movement_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(
                name="release_by_maker_and_checker",
                condition=~Q(kind="release")
                | (Q(maker__isnull=False) & Q(checker__isnull=False) & ~Q(maker=F("checker"))),
            ),
        ]
        indexes = [models.Index(fields=["margin_account", "effective_at"])]


class Perfection(models.Model):
    """What makes a security interest hold against others: a control agreement, or a filing until it lapses."""

    class Kind(models.TextChoices):
        CONTROL_AGREEMENT = "control_agreement", "control agreement"
        FILING = "filing", "filing"

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    margin_account = models.ForeignKey(MarginAccount, on_delete=models.PROTECT, related_name="perfections")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    reference = models.CharField(max_length=80, help_text="the filing's number, or what the agreement is called")
    held_with = models.CharField(max_length=120, help_text="the registry, or the custodian that agreed")
    from_date = models.DateField()
    lapse_date = models.DateField(
        null=True, help_text="first day on which it no longer holds; empty: until it is ended"
    )
    document = models.ForeignKey("lending.Document", on_delete=models.PROTECT, null=True, related_name="+")
    recorded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="perfection_lapses_after_it_began",
                condition=Q(lapse_date__isnull=True) | Q(lapse_date__gt=F("from_date")),
            ),
            models.CheckConstraint(
                name="perfection_filing_lapses", condition=~Q(kind="filing") | Q(lapse_date__isnull=False)
            ),
        ]
        indexes = [models.Index(fields=["lapse_date"])]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.reference}"
