"""Margin state, calls, causes, orders and incidents."""

from django.db import models
from django.db.models import F, Q

from lending.models.fields import AmountField, PublicIdField, RatioField


class MarginState(models.TextChoices):
    HEALTHY = "healthy"
    WARNING = "warning"
    CALL = "call"
    ACCELERATED = "accelerated"
    LIQUIDATE = "liquidate"
    UNKNOWN = "unknown"


class MarginStatus(models.Model):
    """The margin state of one account, in a narrow row that the marking worker updates under its fence."""

    margin_account = models.OneToOneField(
        "lending.MarginAccount", on_delete=models.PROTECT, primary_key=True, related_name="margin_status"
    )
    state = models.CharField(max_length=12, choices=MarginState.choices, default=MarginState.HEALTHY)
    ltv = RatioField(null=True, help_text="null while no exact decision was taken; inf is stored as 999999")
    episode = models.PositiveIntegerField(default=0)
    since = models.DateTimeField()
    breach_count = models.PositiveIntegerField(default=0, help_text="evaluations at LIQUIDATE on GOOD marks in a row")
    breach_since = models.DateTimeField(null=True)
    clear_since = models.DateTimeField(null=True, help_text="since when LTV has held below clear_ltv")
    call_closed_at = models.DateTimeField(null=True, help_text="end of the last episode; starts the reopening window")
    fence = models.BigIntegerField(default=0)
    snapshot = models.ForeignKey("risk.PriceSnapshot", on_delete=models.PROTECT, null=True)

    class Meta:
        verbose_name_plural = "margin statuses"
        indexes = [models.Index(fields=["state"])]

    def __str__(self) -> str:
        return f"{self.get_state_display()} since {self.since:%d %b %Y %H:%M}"


class ShardLease(models.Model):
    """Who marks a shard group; every change of holder raises the fencing token. Lifetimes are wall time."""

    group = models.PositiveSmallIntegerField(primary_key=True)
    holder = models.CharField(max_length=80, blank=True)
    fence = models.BigIntegerField(default=0)
    wall_expires_at = models.DateTimeField(null=True)
    last_round_at = models.DateTimeField(null=True, help_text="platform time of the last round that was marked")


class CallLevel(models.TextChoices):
    CALL = "call"
    ACCELERATED = "accelerated"


class CallState(models.TextChoices):
    ISSUED = "issued"
    NOTIFIED = "notified"
    ACKNOWLEDGED = "acknowledged"
    PARTIALLY_CURED = "partially_cured"
    CURED = "cured"
    CURED_BY_MARKET = "cured_by_market"
    EXPIRED = "expired"
    LIQUIDATING = "liquidating"
    LIQUIDATED = "liquidated"
    WAIVED = "waived"
    WITHDRAWN = "withdrawn"


OPEN_CALL_STATES = (
    CallState.ISSUED,
    CallState.NOTIFIED,
    CallState.ACKNOWLEDGED,
    CallState.PARTIALLY_CURED,
    CallState.EXPIRED,
    CallState.LIQUIDATING,
)


class MarginCall(models.Model):
    """A demand for money or collateral with fixed amounts and a deadline; one open per account and episode."""

    public_id = PublicIdField()
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, related_name="margin_calls")
    margin_account = models.ForeignKey("lending.MarginAccount", on_delete=models.PROTECT, related_name="margin_calls")
    episode = models.PositiveIntegerField()
    level = models.CharField(max_length=12, choices=CallLevel.choices)
    state = models.CharField(max_length=16, choices=CallState.choices, default=CallState.ISSUED)
    ltv = RatioField()
    debt_usd = AmountField()
    weighted_collateral_usd = AmountField()
    snapshot = models.ForeignKey("risk.PriceSnapshot", on_delete=models.PROTECT)
    cure_asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT, related_name="+")
    cash_cure = AmountField(help_text="in cure_asset (the loan's asset)")
    cash_cured = AmountField(default=0)
    cured_fraction = RatioField(default=0, help_text="of the demand, over cash and collateral together")
    cure_period_s = models.PositiveIntegerField()
    remaining_s = models.PositiveIntegerField(
        null=True, help_text="clock left when the episode was closed by the market"
    )
    paused_s = models.PositiveIntegerField(default=0, help_text="outages and disputes so far; capped")
    issued_at = models.DateTimeField()
    received_at = models.DateTimeField(null=True, help_text="deemed receipt: evidence on two channels")
    cure_due_at = models.DateTimeField(null=True, help_text="null until receipt")
    accelerated_due_at = models.DateTimeField(null=True, help_text="earlier end while LTV is above accelerated_ltv")
    notice = models.ForeignKey("lending.Notice", on_delete=models.PROTECT, null=True, related_name="+")
    # Amounts were demanded on top of everything credited up to these rows; what comes after them is a cure.
    last_movement_id = models.BigIntegerField(default=0)
    last_repayment_id = models.BigIntegerField(default=0)
    assessed_version = models.BigIntegerField(default=0, help_text="version of the account that cures were counted on")
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey("lending.User", on_delete=models.PROTECT, null=True, related_name="+")
    claimed_by = models.ForeignKey("lending.User", on_delete=models.PROTECT, null=True, related_name="+")
    claimed_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    close_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="call_once_per_episode", fields=["margin_account", "episode"]),
            models.UniqueConstraint(
                name="one_open_call",
                fields=["margin_account"],
                condition=Q(state__in=[state.value for state in OPEN_CALL_STATES]),
            ),
            models.CheckConstraint(
                name="call_due_after_receipt", condition=Q(cure_due_at=None) | Q(received_at__isnull=False)
            ),
        ]
        indexes = [models.Index(fields=["state", "cure_due_at"])]

    def __str__(self) -> str:
        return f"{str(self.public_id)[:8]}, episode {self.episode}"


class CollateralCure(models.Model):
    """How much of one asset would cure a call: never shown as one number with the cash cure."""

    call = models.ForeignKey(MarginCall, on_delete=models.PROTECT, related_name="collateral_cures")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    quantity = AmountField()
    price = AmountField(help_text="USD per unit in the call's snapshot")

    class Meta:
        constraints = [models.UniqueConstraint(name="collateral_cure_once", fields=["call", "asset"])]


class CallEvent(models.Model):
    """A step in the life of a call with its actor and facts: together they are the evidence pack."""

    SALE_HELD = "sale_held"

    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT)
    call = models.ForeignKey(MarginCall, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=30)
    actor = models.ForeignKey("lending.User", on_delete=models.PROTECT, null=True)
    facts = models.JSONField(default=dict)
    happened_at = models.DateTimeField()

    class Meta:
        constraints = [
            # A sale waits for a transfer in its final confirmation once per episode, and an episode has one call.
            models.UniqueConstraint(name="sale_held_once", fields=["call"], condition=Q(kind="sale_held"))
        ]


DEFAULTS = ("payment_default", "maturity_default", "recall_default")


class SaleCause(models.Model):
    """Why collateral may be sold: exactly one declared cause with its evidence stands behind every order."""

    class Kind(models.TextChoices):
        EXPIRED_CALL = "expired_call"
        LIQUIDATION_LEVEL = "liquidation_level"
        PAYMENT_DEFAULT = "payment_default"
        MATURITY_DEFAULT = "maturity_default"
        RECALL_DEFAULT = "recall_default"
        CLIENT_ELECTION = "client_election"
        TWO_KEY = "two_key"

    # The outcome of a sale at the liquidation level that was taken back: its call goes on, and may lead to another.
    LEVEL_LEFT = "level_left"

    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT)
    margin_account = models.ForeignKey("lending.MarginAccount", on_delete=models.PROTECT, related_name="sale_causes")
    episode = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    call = models.ForeignKey(MarginCall, on_delete=models.PROTECT, null=True)
    loan = models.ForeignKey(
        "lending.Loan", on_delete=models.PROTECT, null=True, related_name="+", help_text="whose default is sold for"
    )
    approval = models.OneToOneField(
        "lending.Approval", on_delete=models.PROTECT, null=True, related_name="+", help_text="that two persons agreed"
    )
    snapshot = models.ForeignKey("risk.PriceSnapshot", on_delete=models.PROTECT)
    evidence = models.JSONField(default=dict)
    declared_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, help_text="target restored, debt gone, cured, or nothing left to sell")
    outcome = models.CharField(max_length=30, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="cause_once_per_episode",
                fields=["margin_account", "episode"],
                condition=~Q(outcome="level_left"),
            ),
            models.CheckConstraint(
                name="expired_cause_names_its_call", condition=~Q(kind="expired_call") | Q(call__isnull=False)
            ),
            models.CheckConstraint(
                name="cause_of_a_default_names_loan_and_agreement",
                condition=Q(kind__in=DEFAULTS, loan__isnull=False, approval__isnull=False, call__isnull=True)
                | ~Q(kind__in=DEFAULTS) & Q(loan__isnull=True, approval__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, episode {self.episode}"


class OrderState(models.TextChoices):
    PENDING = "pending"
    WORKING = "working"
    PAUSED = "paused"
    FILLED = "filled"
    CANCELLED = "cancelled"
    FAILED = "failed"


LIVE_ORDER_STATES = (OrderState.PENDING, OrderState.WORKING, OrderState.PAUSED)


class LiquidationOrder(models.Model):
    """Risk's intent to sell a quantity of one asset; otc pulls it. Fills can not exceed it: the database checks."""

    public_id = PublicIdField()
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT)
    margin_account = models.ForeignKey("lending.MarginAccount", on_delete=models.PROTECT, related_name="orders")
    episode = models.PositiveIntegerField()
    slice = models.PositiveIntegerField(help_text="1, 2, ... as the rest is planned again")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    cause = models.ForeignKey(SaleCause, on_delete=models.PROTECT, related_name="orders")
    quantity = AmountField()
    filled_quantity = AmountField(default=0)
    committed_quantity = AmountField(default=0, help_text="in accepted quotes whose fills have not been booked yet")
    cancelled_quantity = AmountField(default=0, help_text="given back to the pledge; never sold")
    proceeds = AmountField(default=0, help_text="USD of all fills")
    state = models.CharField(max_length=10, choices=OrderState.choices, default=OrderState.PENDING)
    plan = models.JSONField(default=dict, help_text="formula, inputs, target and expected slippage")
    mark_price = AmountField(help_text="of the snapshot that sized it")
    snapshot = models.ForeignKey("risk.PriceSnapshot", on_delete=models.PROTECT)
    ordered_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="order_once_per_slice", fields=["margin_account", "episode", "slice", "asset"]
            ),
            models.UniqueConstraint(
                name="one_live_order",
                fields=["margin_account", "asset"],
                condition=Q(state__in=["pending", "working", "paused"]),
            ),
            models.CheckConstraint(name="order_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(
                name="order_not_over_filled",
                condition=Q(filled_quantity__gte=0)
                & Q(committed_quantity__gte=0)
                & Q(cancelled_quantity__gte=0)
                & Q(quantity__gte=F("filled_quantity") + F("committed_quantity") + F("cancelled_quantity")),
            ),
        ]
        indexes = [models.Index(fields=["state"])]

    def __str__(self) -> str:
        return f"{str(self.public_id)[:8]}, slice {self.slice}"


class Incident(models.Model):
    """Something a person must look at: an outage, an unknown account, a refused sale."""

    public_id = PublicIdField()
    key = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=30)
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT, null=True)
    margin_account = models.ForeignKey("lending.MarginAccount", on_delete=models.PROTECT, null=True)
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, null=True)
    summary = models.CharField(max_length=300)
    facts = models.JSONField(default=dict)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey("lending.User", on_delete=models.PROTECT, null=True, related_name="+")
    resolved_by = models.ForeignKey(
        "lending.User", on_delete=models.PROTECT, null=True, related_name="+", help_text="null if it closed by itself"
    )

    class Meta:
        indexes = [models.Index(fields=["-opened_at"], condition=Q(closed_at=None), name="incident_open")]

    def __str__(self) -> str:
        return self.summary


class IncidentEvent(models.Model):
    """What a person did about an incident: took it up, noted something, resolved it."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="events")
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, null=True)
    kind = models.CharField(max_length=30)
    actor = models.ForeignKey("lending.User", on_delete=models.PROTECT)
    note = models.CharField(max_length=1000, blank=True)
    happened_at = models.DateTimeField()


class DecisionLog(models.Model):
    """A breach that led to no call, or a due sale that was not made; one row per account and reason."""

    margin_account = models.ForeignKey("lending.MarginAccount", on_delete=models.PROTECT)
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT)
    episode = models.PositiveIntegerField()
    decision = models.CharField(max_length=30)
    reason = models.CharField(max_length=200)
    snapshot = models.ForeignKey("risk.PriceSnapshot", on_delete=models.PROTECT, null=True)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="decision_once", fields=["margin_account", "episode", "decision", "reason"])
        ]

    def __str__(self) -> str:
        return f"{self.decision.replace('_', ' ')}: {self.reason}"
