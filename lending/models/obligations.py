"""What a client is to do about a loan by a day: pay what a row of its schedule says, or pay it off."""

from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from lending.engine import money
from lending.models.clients import Client
from lending.models.fields import AmountField


class Obligation(models.Model):
    """
    A payment that a client owes on a day: announced before it, late when the day is over, then in default.

    Its amount is fixed by the notice that announces it; until then principal and interest say what was agreed.
    """

    class Kind(models.TextChoices):
        INTEREST = "interest", "interest"
        INSTALMENT = "instalment", "instalment"
        MATURITY = "maturity", "all that is left"
        RECALL = "recall", "all that is left, after notice"

    class State(models.TextChoices):
        EXPECTED = "expected", "expected"
        NOTICED = "noticed", "announced"
        DUE = "due", "due"
        LATE = "late", "late"
        DEFAULTED = "defaulted", "defaulted"
        MET = "met", "paid"
        CANCELLED = "cancelled", "cancelled"
        REPLACED = "replaced", "replaced"

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey("lending.Loan", on_delete=models.PROTECT, related_name="obligations")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    state = models.CharField(max_length=12, choices=State.choices, default=State.EXPECTED)
    due_date = models.DateField(help_text="as agreed")
    due_at = models.DateTimeField(help_text="start of the day on which it is to be paid")
    default_at = models.DateTimeField(help_text="when it is in default if it is not paid")
    principal = AmountField(help_text="as agreed")
    interest = AmountField(help_text="as agreed")
    balance = AmountField(help_text="principal that may be left once it is paid")
    amount = AmountField(null=True, help_text="what its notice asked for")
    announced_at = models.DateTimeField(null=True, help_text="since when it asks for its amount")
    paid = AmountField(default=0)
    act_at = models.DateTimeField(null=True, help_text="when something is to be done about it next")
    met_at = models.DateTimeField(null=True)
    late_fee = AmountField(default=0, db_default=0, help_text="charged when its grace was over, and not taken back")
    late_fee_entry = models.ForeignKey("lending.Entry", on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        indexes = [models.Index(name="obligation_to_act", fields=["act_at"], condition=Q(act_at__isnull=False))]
        constraints = [
            models.CheckConstraint(
                name="obligation_paid_within_amount",
                condition=Q(paid=0) | Q(amount__isnull=False, paid__gt=0, paid__lte=F("amount")),
            ),
            models.CheckConstraint(name="obligation_default_after_due", condition=Q(default_at__gt=F("due_at"))),
            models.CheckConstraint(
                name="obligation_late_fee_by_an_entry",
                condition=Q(late_fee=0, late_fee_entry__isnull=True)
                | Q(late_fee__gt=0, late_fee_entry__isnull=False, amount__isnull=False)
                & ~Q(state__in=["expected", "noticed", "due"])
                & ~Q(kind__in=["maturity", "recall"]),
            ),
            models.CheckConstraint(
                name="obligation_over_needs_no_act",
                condition=Q(act_at__isnull=True, state__in=["defaulted", "met", "cancelled", "replaced"])
                | Q(act_at__isnull=False, state__in=["expected", "noticed", "due", "late"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} due {self.due_date}"

    @property
    def asks(self) -> Decimal:
        """Return what it asks for: by its notice, or before that as agreed."""
        with money.exact():
            return self.principal + self.interest if self.amount is None else self.amount


_State = Obligation.State
WHOLE = (Obligation.Kind.MATURITY, Obligation.Kind.RECALL)  # these ask for all that is left, and end the loan
OPEN_OBLIGATIONS = (_State.EXPECTED, _State.NOTICED, _State.DUE, _State.LATE)
# Equal to the guard in the database, which a test compares. A loan whose sale left debt goes on being in default.
OBLIGATION_TRANSITIONS: tuple[tuple[str, str], ...] = (
    (_State.EXPECTED, _State.NOTICED),
    (_State.NOTICED, _State.DUE),
    (_State.DUE, _State.LATE),
    (_State.LATE, _State.DEFAULTED),
    *((state, _State.MET) for state in OPEN_OBLIGATIONS),
    *((state, _State.CANCELLED) for state in OPEN_OBLIGATIONS),
    (_State.DEFAULTED, _State.LATE),
)
# Only where the loan's past was corrected: what a payment had met that was taken back is open again, and a payment that
# comes to be known late undoes a default and all that went with it.
CORRECTED_TRANSITIONS: tuple[tuple[str, str], ...] = (
    *((_State.MET, state) for state in (*OPEN_OBLIGATIONS, _State.CANCELLED)),
    *((_State.CANCELLED, state) for state in (*OPEN_OBLIGATIONS, _State.MET)),
    (_State.DEFAULTED, _State.MET),
)
# Only where the loan was amended: what its new schedule asks for stands instead.
AMENDED_TRANSITIONS: tuple[tuple[str, str], ...] = tuple((state, _State.REPLACED) for state in OPEN_OBLIGATIONS)
