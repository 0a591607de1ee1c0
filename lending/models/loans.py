"""Products, loans and the declared table of their transitions."""

from datetime import date

from django.db import models
from django.db.models import F, Q

from lending.engine import figures
from lending.models.benchmarks import RATE_OF_A_PRODUCT, RATES_OF_A_LOAN, RateTerms, StepUp
from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField, RatioField
from lending.models.margin_accounts import AS_USUAL, LadderTerms, MarginAccount, PledgeTerms
from lending.models.schedules import Calendar, Frequency, Prepayment, ScheduleKind, Tenor
from lending.models.users import User


class DayCount(models.TextChoices):
    ACT_360 = "ACT/360", "ACT/360"
    ACT_365F = "ACT/365F", "ACT/365F"
    ACT_ACT_ISDA = "ACT/ACT ISDA", "ACT/ACT ISDA"
    THIRTY_360 = "30/360", "30/360"
    THIRTY_E_360 = "30E/360", "30E/360"


class Payments(models.Model):
    """When a loan is paid back: what its product offers, and what was agreed for it."""

    tenor = models.CharField(max_length=12, choices=Tenor.choices, default=Tenor.FIXED, db_default=Tenor.FIXED)
    notice_days = models.PositiveSmallIntegerField(
        default=0, db_default=0,
        help_text="business days of notice with which either side ends what has no fixed end; 0 for a fixed term",
    )  # fmt: skip
    unused_fee = RatioField(default=0, db_default=0, help_text="a year, of what is not drawn of a revolving line")
    schedule_kind = models.CharField(
        max_length=20, choices=ScheduleKind.choices, default=ScheduleKind.BULLET, db_default=ScheduleKind.BULLET
    )
    frequency_months = models.PositiveSmallIntegerField(
        choices=Frequency.choices, default=Frequency.MONTHLY, db_default=Frequency.MONTHLY
    )
    calendar = models.CharField(
        max_length=4, choices=Calendar.choices, blank=True, default=Calendar.EVERY_DAY, db_default=Calendar.EVERY_DAY,
        help_text="a day on which no money moves is put off to the next one on which it does",
    )  # fmt: skip
    grace_days = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="business days after the day of payment before what is unpaid is in default"
    )
    late_fee = RatioField(
        default=0, db_default=0, help_text="of interest or a part of the principal that is unpaid after its grace, once"
    )
    prepayment = models.CharField(
        max_length=8, choices=Prepayment.choices, blank=True, default=Prepayment.NOTHING, db_default=Prepayment.NOTHING,
        help_text="what principal costs that is paid before its time, of a fixed term",
    )  # fmt: skip
    prepayment_rate = RatioField(default=0, db_default=0, help_text="that share, or what a year earns elsewhere")

    class Meta:
        abstract = True

    @property
    def has_fixed_end(self) -> bool:
        """Return whether the day on which it ends was agreed."""
        return self.tenor == Tenor.FIXED

    @property
    def is_line(self) -> bool:
        """Return whether it is drawn in parts, up to its principal, and what is repaid can be drawn again."""
        return self.tenor == Tenor.REVOLVING

    @property
    def capitalises(self) -> bool:
        """Return whether the interest of each period becomes principal at its end."""
        return self.schedule_kind == ScheduleKind.CAPITALISED

    @property
    def notice(self) -> str:
        """Return in words with what notice either side ends it."""
        return f"{self.notice_days} business day{'' if self.notice_days == 1 else 's'}' notice"

    @property
    def how_prepaid(self) -> str:
        """Return in words what it costs to pay principal back before its time; empty for nothing."""
        if self.prepayment == Prepayment.SHARE:
            return f"{figures.percent(self.prepayment_rate)} of it"
        if self.prepayment == Prepayment.INTEREST:
            elsewhere = f"less {figures.percent(self.prepayment_rate)} a year that it earns elsewhere"
            return f"the interest that it would have borne until it was due, {elsewhere}"
        return ""

    @property
    def how_paid(self) -> str:
        """Return in words how it is paid back."""
        every = Frequency(self.frequency_months).label
        if self.is_line:
            return f"interest and fees {every}, what is drawn when the client wants or the line is ended"
        if not self.has_fixed_end:
            return f"interest {every}, the principal when it is ended"
        return {
            ScheduleKind.BULLET: "all at once at maturity",
            ScheduleKind.INTEREST_ONLY: f"interest {every}, the principal at maturity",
            ScheduleKind.EQUAL_PRINCIPAL: f"an equal part of the principal {every}, and interest",
            ScheduleKind.EQUAL_INSTALMENT: f"equal instalments {every}",
            ScheduleKind.CAPITALISED: f"all at maturity; interest becomes principal {every}",
        }[ScheduleKind(self.schedule_kind)]


class Product(RateTerms, Payments):
    """What a relationship manager can offer: defaults that never reach back to a signed loan."""

    code = models.CharField(max_length=30, unique=True)
    name = models.CharField(max_length=80)
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    day_count = models.CharField(max_length=12, choices=DayCount.choices)
    terms = models.ForeignKey(LadderTerms, on_delete=models.PROTECT, help_text="ladder preset")
    pledge_terms = models.ForeignKey(PledgeTerms, on_delete=models.PROTECT, **AS_USUAL)
    origination_fee = RatioField(default=0)
    book = models.ForeignKey("lending.Book", on_delete=models.PROTECT)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="product_ends_one_way",
                condition=Q(tenor=Tenor.FIXED, notice_days=0)
                | Q(notice_days__gt=0, schedule_kind=ScheduleKind.INTEREST_ONLY) & ~Q(tenor=Tenor.FIXED),
                violation_error_message="What has no fixed end pays interest only and is ended with at least one "
                "business day's notice; a fixed term ends on its day and has no notice: 0.",
            ),
            models.CheckConstraint(
                name="product_unused_fee_of_a_line",
                condition=Q(unused_fee=0) | Q(tenor=Tenor.REVOLVING, unused_fee__gt=0, unused_fee__lt=1),
                violation_error_message="A fee on what is not drawn belongs to a revolving line, and is at least 0 and "
                "less than all of it.",
            ),
            models.CheckConstraint(
                name="product_late_fee_below_one",
                condition=Q(late_fee__gte=0, late_fee__lt=1),
                violation_error_message="A late fee is at least 0 and less than all of what is late.",
            ),
            models.CheckConstraint(
                name="product_prepayment_of_a_fixed_term",
                condition=Q(prepayment=Prepayment.NOTHING, prepayment_rate=0)
                | Q(prepayment=Prepayment.SHARE, tenor=Tenor.FIXED, prepayment_rate__gt=0, prepayment_rate__lt=1)
                | Q(prepayment=Prepayment.INTEREST, tenor=Tenor.FIXED, prepayment_rate__gte=0, prepayment_rate__lt=1),
                violation_error_message="What is paid before its time can cost something on a fixed term alone: a "
                "share above 0 and below all of it, or the interest lost less a rate from 0 on; else the rate is 0.",
            ),
            RATE_OF_A_PRODUCT,
        ]

    def __str__(self) -> str:
        return self.name


class ProductHaircut(models.Model):
    """What is taken off the value of an asset that secures a product's loans, of those quoted from now on."""

    named_by = ("asset",)

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="haircuts")
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    haircut = RatioField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="product_haircut_once", fields=["product", "asset"]),
            models.CheckConstraint(name="product_haircut_below_one", condition=Q(haircut__gte=0) & Q(haircut__lt=1)),
        ]

    def __str__(self) -> str:
        return f"{self.asset.code} {self.haircut:.2%}"


class LoanState(models.TextChoices):
    QUOTED = "quoted"
    ACCEPTED = "accepted"
    APPROVED = "approved"
    COLLATERAL_PENDING = "collateral_pending"
    ACTIVE = "active"
    RECALLED = "recalled"
    MATURED = "matured"
    DEFAULTED = "defaulted"
    LIQUIDATING = "liquidating"
    REPAID = "repaid"
    WORKOUT = "workout"
    WRITTEN_OFF = "written_off"
    RECOVERED = "recovered"
    CLOSED = "closed"
    CANCELLED = "cancelled"


LOSS_OPEN = (LoanState.WORKOUT, LoanState.WRITTEN_OFF)  # something that the sale of all collateral left unpaid is owed
LOSS_TAKEN = (*LOSS_OPEN, LoanState.RECOVERED)  # what was paid of it may still be taken back
LOAN_TRANSITIONS: tuple[tuple[LoanState, LoanState], ...] = (
    (LoanState.QUOTED, LoanState.ACCEPTED),
    (LoanState.QUOTED, LoanState.CANCELLED),
    # A loan that another system kept until now: agreed outside, and the database asks for its origin.
    (LoanState.QUOTED, LoanState.ACTIVE),
    (LoanState.ACCEPTED, LoanState.APPROVED),
    (LoanState.ACCEPTED, LoanState.CANCELLED),
    (LoanState.APPROVED, LoanState.COLLATERAL_PENDING),
    (LoanState.APPROVED, LoanState.CANCELLED),
    (LoanState.COLLATERAL_PENDING, LoanState.ACTIVE),
    (LoanState.COLLATERAL_PENDING, LoanState.CANCELLED),
    (LoanState.ACTIVE, LoanState.MATURED),
    (LoanState.ACTIVE, LoanState.REPAID),
    (LoanState.ACTIVE, LoanState.DEFAULTED),
    (LoanState.ACTIVE, LoanState.LIQUIDATING),
    # What has no fixed end is ended by either side, and the notice may be taken back until it is over.
    (LoanState.ACTIVE, LoanState.RECALLED),
    (LoanState.RECALLED, LoanState.ACTIVE),
    (LoanState.RECALLED, LoanState.MATURED),
    (LoanState.RECALLED, LoanState.REPAID),
    (LoanState.RECALLED, LoanState.DEFAULTED),
    (LoanState.RECALLED, LoanState.LIQUIDATING),
    (LoanState.MATURED, LoanState.REPAID),
    (LoanState.MATURED, LoanState.DEFAULTED),
    (LoanState.MATURED, LoanState.LIQUIDATING),
    (LoanState.DEFAULTED, LoanState.LIQUIDATING),
    (LoanState.DEFAULTED, LoanState.REPAID),
    # A sale that leaves debt gives a loan back to what its dates say: running, under notice, or due.
    *((LoanState.LIQUIDATING, after) for after in (LoanState.ACTIVE, LoanState.RECALLED, LoanState.MATURED)),
    (LoanState.LIQUIDATING, LoanState.REPAID),
    (LoanState.LIQUIDATING, LoanState.WORKOUT),
    (LoanState.WORKOUT, LoanState.WRITTEN_OFF),
    *((before, LoanState.RECOVERED) for before in LOSS_OPEN),
    (LoanState.REPAID, LoanState.CLOSED),
    # A payment that is taken back opens a repaid loan again, as what it would be without it.
    *((LoanState.REPAID, after) for after in (LoanState.ACTIVE, LoanState.RECALLED, LoanState.MATURED)),
    (LoanState.REPAID, LoanState.DEFAULTED),
    # What made good a loss, and is taken back, leaves it unpaid again.
    *((LoanState.RECOVERED, after) for after in LOSS_OPEN),
    # One that was there in time and is recorded late undoes a default. The database asks both for their correction.
    *((LoanState.DEFAULTED, after) for after in (LoanState.ACTIVE, LoanState.RECALLED, LoanState.MATURED)),
    # A later maturity that both sides agree on before a default. The database asks for that agreement.
    (LoanState.MATURED, LoanState.ACTIVE),
    *((before, LoanState.CLOSED) for before in (LoanState.RECOVERED, LoanState.WRITTEN_OFF)),
)


class Loan(RateTerms, StepUp, Payments):
    """A loan against the collateral of its margin account, until its maturity or until either side ends it."""

    named_by = ("asset",)

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="loans")
    margin_account = models.ForeignKey(MarginAccount, on_delete=models.PROTECT, related_name="loans")
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    book = models.ForeignKey("lending.Book", on_delete=models.PROTECT)
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT, help_text="what is lent")
    principal = AmountField(help_text="amount agreed")
    annual_rate = RatioField()
    default_rate = RatioField()
    day_count = models.CharField(max_length=12, choices=DayCount.choices)
    origination_fee = RatioField(default=0)
    start_at = models.DateTimeField(null=True, help_text="when it was funded")
    maturity_date = models.DateField(null=True, help_text="of a fixed term, as agreed")
    ends_on = models.DateField(null=True, help_text="of another: the day on which the notice that ends it is over")
    default_at = models.DateTimeField(
        null=True, help_text="from when the default rate holds; empty: a day after the start of the day it ends on"
    )
    state = models.CharField(max_length=20, choices=LoanState.choices, default=LoanState.QUOTED)
    # Kept beside the ledger in the same transaction so that a warm book loads in one query; proved by an invariant.
    principal_outstanding = AmountField(default=0)
    interest_due = AmountField(default=0, help_text="posted interest not yet paid")
    fees_due = AmountField(default=0)
    interest_posted = AmountField(default=0, help_text="all interest ever posted, paid or not")
    unused_posted = AmountField(default=0, db_default=0, help_text="all fees on what was not drawn, paid or not")
    accrued_at = models.DateTimeField(null=True, help_text="instant up to which interest is posted")
    # Of a loan that another system kept before: `start_at` is when it was taken over, `principal` what was left then.
    began_date = models.DateField(null=True, help_text="first day of its first period; empty: the day it was funded")
    interest_brought = AmountField(
        default=0, db_default=0, help_text="interest that was due already when it was taken over"
    )
    next_reset_at = models.DateTimeField(
        null=True, help_text="when its rate is reset next; empty: its resets are to be looked at anew"
    )
    quoted_until = models.DateTimeField()
    payout_address = models.CharField(
        max_length=120, blank=True, help_text="where the proceeds go; empty: they stay in the client's free balance"
    )
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", help_text="maker")
    accepted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    approved_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, help_text="checker")
    funded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="loan_maker_is_not_checker", condition=~Q(made_by=F("approved_by"))),
            models.CheckConstraint(
                name="loan_funded_by_a_third",
                condition=Q(funded_by__isnull=True) | ~Q(funded_by=F("made_by")) & ~Q(funded_by=F("approved_by")),
            ),
            models.CheckConstraint(name="loan_principal_positive", condition=Q(principal__gt=0)),
            models.CheckConstraint(
                name="loan_ends_one_way",
                condition=Q(tenor=Tenor.FIXED, notice_days=0, maturity_date__isnull=False, ends_on__isnull=True)
                | Q(notice_days__gt=0, schedule_kind=ScheduleKind.INTEREST_ONLY, maturity_date__isnull=True)
                & ~Q(tenor=Tenor.FIXED),
            ),
            *RATES_OF_A_LOAN,
            # A payment taken back can leave more of a line drawn than its limit: there the draws are bounded.
            models.CheckConstraint(
                name="loan_within_its_limit",
                condition=Q(tenor=Tenor.REVOLVING)
                | Q(schedule_kind=ScheduleKind.CAPITALISED)
                | Q(principal_outstanding__lte=F("principal")),
            ),
            models.CheckConstraint(
                name="loan_ends_once_recalled",
                condition=Q(state=LoanState.RECALLED, ends_on__isnull=False)
                | Q(state=LoanState.ACTIVE, ends_on__isnull=True)
                | ~Q(state__in=[LoanState.RECALLED, LoanState.ACTIVE]),
            ),
            models.CheckConstraint(
                name="loan_dues_not_negative",
                condition=Q(principal_outstanding__gte=0) & Q(interest_due__gte=0) & Q(fees_due__gte=0),
            ),
            models.CheckConstraint(
                name="loan_active_was_approved",
                condition=Q(state__in=["quoted", "accepted", "cancelled"]) | Q(approved_by__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.asset.code} {self.principal.normalize():,f} {str(self.public_id)[:8]}"

    @property
    def end_date(self) -> date | None:
        """Return the day at whose start all of it falls due; None while nobody has ended what has no fixed end."""
        return self.maturity_date or self.ends_on


class LoanTransition(models.Model):
    """The declared transitions; the database refuses any other change of a loan's state."""

    from_state = models.CharField(max_length=20, choices=LoanState.choices)
    to_state = models.CharField(max_length=20, choices=LoanState.choices)

    class Meta:
        constraints = [models.UniqueConstraint(name="loan_transition_once", fields=["from_state", "to_state"])]


class LoanEvent(models.Model):
    """A state change of a loan with its actor, cause and evidence."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="events")
    from_state = models.CharField(max_length=20, blank=True)
    to_state = models.CharField(max_length=20)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True)
    cause = models.CharField(max_length=200)
    evidence = models.JSONField(default=dict)
    happened_at = models.DateTimeField()


class Repayment(models.Model):
    """
    Money that reduced a loan: what a borrower paid, or what a sale brought, split as it was when it was recorded.

    What it pays now is this split and all of its changes together; one that was taken back pays nothing.
    """

    class Kind(models.TextChoices):
        CASH = "cash"
        LIQUIDATION = "liquidation"

    key = models.CharField(max_length=200, unique=True)
    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="repayments")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    amount = AmountField(help_text="in the loan's asset, > 0")
    fees = AmountField(default=0)
    interest = AmountField(default=0)
    principal = AmountField(default=0)
    surplus = AmountField(default=0)
    make_whole = AmountField(default=0, db_default=0, help_text="what principal cost that was paid before its time")
    prepays = models.BooleanField(
        default=False, db_default=False, help_text="principal that it pays before its time costs what was agreed"
    )
    received_at = models.DateTimeField()
    arrived_at = models.DateTimeField(null=True, help_text="when it arrived, where it had to be applied from later on")
    recorded_at = models.DateTimeField()
    entry = models.ForeignKey("lending.Entry", on_delete=models.PROTECT)

    class Meta:
        constraints = [
            models.CheckConstraint(name="repayment_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="repayment_is_split_whole",
                condition=Q(amount=F("fees") + F("interest") + F("principal") + F("surplus") + F("make_whole")),
            ),
            models.CheckConstraint(
                name="repayment_make_whole_of_a_prepayment",
                condition=Q(make_whole=0) | Q(make_whole__gt=0, prepays=True, kind="cash"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.received_at:%d %b %Y %H:%M} UTC"
