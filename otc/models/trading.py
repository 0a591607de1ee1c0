"""Dealers, blocks, requests for quote, quotes, fills, allocations and settlements."""

from django.db import models
from django.db.models import F, Q

from lending.models.fields import AmountField, PublicIdField, RatioField


class Dealer(models.Model):
    """A counterparty that quotes by client-made ids."""

    code = models.CharField(max_length=30, unique=True)
    name = models.CharField(max_length=80)
    simulated = models.BooleanField(default=False)
    enabled = models.BooleanField(default=True)
    settlement_address = models.CharField(max_length=120, help_text="where sold coins go")

    def __str__(self) -> str:
        return self.name


class Block(models.Model):
    """The orders of one asset and window, netted into one sale."""

    named_by = ("asset",)

    class State(models.TextChoices):
        OPEN = "open"
        WORKING = "working"
        DONE = "done"

    public_id = PublicIdField()
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    window_start = models.DateTimeField()
    quantity = AmountField(default=0)
    filled_quantity = AmountField(default=0)
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="block_once_per_window", fields=["asset", "window_start"]),
            models.CheckConstraint(
                name="block_not_over_filled",
                condition=Q(filled_quantity__gte=0) & Q(filled_quantity__lte=F("quantity")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.asset.code} {self.window_start:%d %b %Y %H:%M}"


class BlockOrder(models.Model):
    """One liquidation order's part in a block."""

    block = models.ForeignKey(Block, on_delete=models.PROTECT, related_name="parts")
    order = models.OneToOneField("risk.LiquidationOrder", on_delete=models.PROTECT, related_name="block_part")
    quantity = AmountField()
    filled_quantity = AmountField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="part_not_over_filled", condition=Q(filled_quantity__gte=0) & Q(filled_quantity__lte=F("quantity"))
            )
        ]


class Rfq(models.Model):
    """A request for quote for one clip of a block, sent to every enabled dealer."""

    named_by = ("block__asset",)

    class Basis(models.TextChoices):
        """What allows the sale; but for the first, it stands for the orders that two persons agreed to, alone."""

        AUTOMATIC = "automatic", "a good mark"
        DEGRADED = "sale_on_degraded", "two persons, on a degraded mark"
        IN_GRACE = "sale_in_grace", "two persons, in the grace after an outage"

    class State(models.TextChoices):
        OPEN = "open"
        QUOTED = "quoted"
        ACCEPTED = "accepted"
        EXPIRED = "expired"
        CANCELLED = "cancelled"

    public_id = PublicIdField()
    block = models.ForeignKey(Block, on_delete=models.PROTECT, related_name="rfqs")
    clip = models.PositiveIntegerField(help_text="1, 2, ... within the block")
    quantity = AmountField()
    mark_price = AmountField()
    collar_price = AmountField(help_text="no sale below it")
    snapshot = models.ForeignKey("risk.PriceSnapshot", on_delete=models.PROTECT)
    basis = models.CharField(max_length=20, choices=Basis.choices, default=Basis.AUTOMATIC)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name = "RFQ"
        verbose_name_plural = "RFQs"
        constraints = [
            models.UniqueConstraint(name="rfq_once_per_clip", fields=["block", "clip"]),
            models.UniqueConstraint(name="one_live_rfq", fields=["block"], condition=Q(state__in=["open", "quoted"])),
        ]

    def __str__(self) -> str:
        return f"{self.block} clip {self.clip}"


class Quote(models.Model):
    """One dealer's answer; accepted at most once, and at most one per request."""

    class State(models.TextChoices):
        ASKED = "asked"
        LIVE = "live"
        REFUSED = "refused"
        ACCEPTING = "accepting"
        ACCEPTED = "accepted"
        REJECTED = "rejected"
        EXPIRED = "expired"

    public_id = PublicIdField()
    rfq = models.ForeignKey(Rfq, on_delete=models.PROTECT, related_name="quotes")
    dealer = models.ForeignKey(Dealer, on_delete=models.PROTECT)
    client_order_id = models.CharField(max_length=80, unique=True, help_text="ours: f(order key)")
    dealer_quote_id = models.CharField(max_length=80, blank=True)
    price = AmountField(null=True)
    quantity = AmountField(null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ASKED)
    asked_at = models.DateTimeField()
    quoted_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    accepted_at = models.DateTimeField(null=True)
    mark_price = AmountField(null=True, help_text="the mark when it was accepted")
    snapshot = models.ForeignKey(
        "risk.PriceSnapshot", on_delete=models.PROTECT, null=True, help_text="the prices its acceptance rests on"
    )
    filled_quantity = AmountField(default=0)
    done_at = models.DateTimeField(null=True, help_text="the dealer will report no more fills")
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [models.Index(fields=["state", "done_at"])]
        constraints = [
            models.UniqueConstraint(name="quote_once_per_dealer", fields=["rfq", "dealer"]),
            models.UniqueConstraint(
                name="one_accepted_quote", fields=["rfq"], condition=Q(state__in=["accepting", "accepted"])
            ),
            models.CheckConstraint(
                name="quote_not_over_filled",
                condition=Q(filled_quantity=0) | Q(filled_quantity__gt=0, filled_quantity__lte=F("quantity")),
            ),
        ]

    def __str__(self) -> str:
        return self.client_order_id


class Commitment(models.Model):
    """What one order put into an accepted quote; a cure after it stops later clips, not this one."""

    quote = models.ForeignKey(Quote, on_delete=models.PROTECT, related_name="commitments")
    part = models.ForeignKey(BlockOrder, on_delete=models.PROTECT, related_name="commitments")
    quantity = AmountField()
    filled_quantity = AmountField(default=0)
    released_at = models.DateTimeField(null=True, help_text="when what was not filled went back to the order")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="commitment_once", fields=["quote", "part"]),
            models.CheckConstraint(
                name="commitment_not_over_filled",
                condition=Q(quantity__gt=0) & Q(filled_quantity__gte=0) & Q(filled_quantity__lte=F("quantity")),
            ),
        ]


class ThrottleDecision(models.Model):
    """Who was given sale capacity in a round, by expected loss; one row per block and round in which it was scarce."""

    block = models.ForeignKey(Block, on_delete=models.PROTECT, related_name="throttle_decisions")
    decided_at = models.DateTimeField()
    rank = models.PositiveIntegerField(help_text="1 is served first")
    expected_loss_usd = AmountField(help_text="what the orders of the block are expected to lose if they wait an hour")
    wanted_usd = AmountField()
    granted_usd = AmountField()

    class Meta:
        constraints = [models.UniqueConstraint(name="throttle_decided_once", fields=["block", "decided_at"])]


class Fill(models.Model):
    """An execution as the dealer reports it, unique by the dealer's own id."""

    named_by = ("dealer",)

    dealer = models.ForeignKey(Dealer, on_delete=models.PROTECT)
    dealer_fill_id = models.CharField(max_length=80)
    quote = models.ForeignKey(Quote, on_delete=models.PROTECT, related_name="fills")
    block = models.ForeignKey(Block, on_delete=models.PROTECT, related_name="fills")
    quantity = AmountField()
    price = AmountField(help_text="USD per unit")
    mark_price = AmountField(help_text="mark when the quote was accepted")
    slippage_bps = RatioField(help_text="against the mark; > 0 costs the client")
    executed_at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, help_text="when it was booked and its proceeds were applied")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="fill_once", fields=["dealer", "dealer_fill_id"]),
            models.CheckConstraint(name="fill_positive", condition=Q(quantity__gt=0) & Q(price__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.dealer} {self.dealer_fill_id}"


class Allocation(models.Model):
    """What one order received of a fill: pro rata, lot remainders to the largest fraction."""

    fill = models.ForeignKey(Fill, on_delete=models.PROTECT, related_name="allocations")
    part = models.ForeignKey(BlockOrder, on_delete=models.PROTECT, related_name="allocations")
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT)
    quantity = AmountField()
    proceeds = AmountField(help_text="USD")
    entry = models.ForeignKey("lending.Entry", on_delete=models.PROTECT, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="allocation_once", fields=["fill", "part"]),
            models.CheckConstraint(name="allocation_positive", condition=Q(quantity__gt=0)),
        ]


class Settlement(models.Model):
    """Delivery of coins against cash with one dealer for one fill."""

    class State(models.TextChoices):
        INSTRUCTED = "instructed"
        SETTLED = "settled"
        FAILED = "failed"

    fill = models.OneToOneField(Fill, on_delete=models.PROTECT, related_name="settlement")
    dealer = models.ForeignKey(Dealer, on_delete=models.PROTECT)
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    quantity = AmountField()
    cash = AmountField(help_text="USD to be received")
    due_at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.INSTRUCTED)
    settled_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=200, blank=True)
    attempt = models.PositiveIntegerField(
        default=1, help_text="each refusal is final for its key; the next has another"
    )

    class Meta:
        indexes = [models.Index(fields=["state", "due_at"])]

    def __str__(self) -> str:
        return f"{self.cash:,.2f} USD, due {self.due_at:%d %b %Y %H:%M}"
